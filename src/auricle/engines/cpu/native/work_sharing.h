// Work that threads share, part after part: each claims chunks of the part that runs.
//
// A part is over when its chunks are: a thread that the system does not run at the moment holds nobody up, as it would
// at a barrier. Who finishes a part's last chunk does what comes between two parts, and opens the next one.
#pragma once

#include <immintrin.h>
#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace auricle {

constexpr int64_t MOST_SHARES = 255;
constexpr int LOOKS = 4000;  // at the work before a thread lets others run

struct Share {
    int64_t part, chunk, n_chunks;

    // This chunk's things of n, in whole units so that vectors and tiles stay whole.
    int64_t begin(int64_t n, int64_t unit) const { return bound(n, unit, chunk); }
    int64_t end(int64_t n, int64_t unit) const { return bound(n, unit, chunk + 1); }

   private:
    int64_t bound(int64_t n, int64_t unit, int64_t at) const {
        const int64_t units = (n + unit - 1) / unit;
        return std::min(n, units * at / n_chunks * unit);
    }
};

// `job.shares(part)` is how many chunks a part has, `job.run(share, thread)` does one of them, and `job.close(part)`
// does what follows the part, alone. Parts are counted from 0 to `n_parts`.
template <class Job>
void share_work(Job& job, int64_t n_parts, int n_threads) {
    constexpr uint64_t OVER = ~uint64_t(0);
    std::atomic<uint64_t> ticket;  // part, 16 bits of how many chunks it has, 16 of the next one to claim
    std::atomic<int64_t> done{0};
    const auto opened = [&](int64_t part) {
        if (part == n_parts) return OVER;
        return uint64_t(part) << 32 | uint64_t(std::clamp<int64_t>(job.shares(part), 1, MOST_SHARES)) << 16;
    };
    const auto work = [&](int thread) {
        for (int looks = 0;;) {
            uint64_t seen = ticket.load(std::memory_order_acquire);
            if (seen == OVER) return;
            const Share share{int64_t(seen >> 32), int64_t(seen & 0xffff), int64_t(seen >> 16 & 0xffff)};
            if (share.chunk >= share.n_chunks || !ticket.compare_exchange_weak(seen, seen + 1)) {
                if (++looks % LOOKS == 0) sched_yield();
                else _mm_pause();
                continue;
            }
            looks = 0;
            job.run(share, thread);
            if (done.fetch_add(1) + 1 < share.n_chunks) continue;
            done.store(0);
            job.close(share.part);
            ticket.store(opened(share.part + 1), std::memory_order_release);
        }
    };
    ticket.store(opened(0));
    if (n_threads == 1) return work(0);
#pragma omp parallel num_threads(n_threads)
    work(omp_get_thread_num());
}

}  // namespace auricle
