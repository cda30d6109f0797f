// What Conformer encoders need beside matrix products: convolutions that see few values, channels last in memory.
//
// Dimension key: F feature frames, M mel bins, T frames, C channels, D width, K taps.
#include <omp.h>

#include <algorithm>
#include <vector>

#include "activations.h"
#include "parallel.h"

namespace auricle {
namespace {

// y[C] = max(0 or -inf, bias + sum over the taps that exist of weight[tap] * x[tap]), for 3 x 3 taps, stride 2, padding 1.
// `at(frame, bin)` gives the values of C channels, or one value for all of them.
template <bool ONE_CHANNEL>
void convolve_3x3(const float* x, const float* weight, const float* bias, float* y, int64_t frames, int64_t bins,
                  int64_t channels, bool relu) {
  const int64_t out_frames = (frames - 1) / 2 + 1, out_bins = (bins - 1) / 2 + 1;
  const int64_t step = ONE_CHANNEL ? 1 : channels;
#pragma omp parallel for schedule(static)
  for (int64_t frame = 0; frame < out_frames; frame++)
    for (int64_t bin = 0; bin < out_bins; bin++) {
      float* out = y + (frame * out_bins + bin) * channels;
      for (int64_t c = 0; c < channels; c += VF_LANES) {
        const int n = (int)std::min<int64_t>(VF_LANES, channels - c);
        VF sum = vload_n(bias + c, n);
        for (int64_t df = 0; df < 3; df++) {
          const int64_t f = 2 * frame + df - 1;
          if (f < 0 || f >= frames) continue;
          for (int64_t dm = 0; dm < 3; dm++) {
            const int64_t m = 2 * bin + dm - 1;
            if (m < 0 || m >= bins) continue;
            const float* in = x + (f * bins + m) * step;
            const VF value = ONE_CHANNEL ? vset1(*in) : vload_n(in + c, n);
            sum = vfma(value, vload_n(weight + (df * 3 + dm) * channels + c, n), sum);
          }
        }
        vstore_n(out + c, relu ? vmax(sum, vzero()) : sum, n);
      }
    }
}

// x[0..D) * sigmoid(x[D..2D))
void gate(const float* x, int64_t width, float* y) {
  for (int64_t c = 0; c < width; c += VF_LANES) {
    const int n = (int)std::min<int64_t>(VF_LANES, width - c);
    vstore_n(y + c, vmul(vload_n(x + c, n), vsigmoid(vload_n(x + width + c, n))), n);
  }
}

constexpr int64_t BLOCK_FRAMES = 32;

}  // namespace

// One channel of features (F, M) to (F / 2, M / 2, C), with a relu; weight [3][3][C].
AURICLE_EXPORT void auricle_convolve_features(const float* x, const float* weight, const float* bias, float* y,
                                              int64_t frames, int64_t bins, int64_t channels) {
  convolve_3x3<true>(x, weight, bias, y, frames, bins, channels, true);
}

// Each channel of (F, M, C) by itself, to (F / 2, M / 2, C); weight [3][3][C].
AURICLE_EXPORT void auricle_convolve_channels(const float* x, const float* weight, const float* bias, float* y,
                                              int64_t frames, int64_t bins, int64_t channels) {
  convolve_3x3<false>(x, weight, bias, y, frames, bins, channels, false);
}

// A gate, a convolution over time of each channel by itself, an activation: (T, 2 D) to (T, D); weight [K][D], K odd.
// Beyond both ends are zeros.
AURICLE_EXPORT void auricle_gated_convolution(const float* x, const float* weight, const float* bias, float* y,
                                              int64_t frames, int64_t width, int64_t taps, int32_t activation) {
  const int64_t before = taps / 2, n_blocks = (frames + BLOCK_FRAMES - 1) / BLOCK_FRAMES;
#pragma omp parallel
  {
    std::vector<float> gated((BLOCK_FRAMES + taps) * width);
#pragma omp for schedule(static)
    for (int64_t block = 0; block < n_blocks; block++) {
      const int64_t first = block * BLOCK_FRAMES, end = std::min(frames, first + BLOCK_FRAMES);
      const int64_t first_seen = std::max<int64_t>(0, first - before), end_seen = std::min(frames, end + taps - before - 1);
      for (int64_t t = first_seen; t < end_seen; t++) gate(x + t * 2 * width, width, &gated[(t - first_seen) * width]);
      for (int64_t t = first; t < end; t++) {
        const int64_t first_tap = std::max<int64_t>(0, before - t), end_tap = std::min(taps, frames - t + before);
        const float* in = &gated[(t - before - first_seen) * width];
        for (int64_t c = 0; c < width; c += VF_LANES) {
          const int n = (int)std::min<int64_t>(VF_LANES, width - c);
          VF sum = vload_n(bias + c, n);
          for (int64_t k = first_tap; k < end_tap; k++)
            sum = vfma(vload_n(in + k * width + c, n), vload_n(weight + k * width + c, n), sum);
          vstore_n(y + t * width + c, activate(sum, activation), n);
        }
      }
    }
  }
}

}  // namespace auricle
