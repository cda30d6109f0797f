// How probable a voice is in frames of sound: the network of auricle.audio.vad, many frames side by side in vectors.
//
// Frames lie in the lanes of vectors, so that spectra and products need no shuffling: what is a number for a frame is a
// row of V vectors here. Only the recurrent layer goes from one frame to the next.
//
// Dimension key: F frequencies of a spectrum, T spectra of a frame, D width of the network.
#include <algorithm>
#include <cmath>
#include <vector>

#include "activations.h"
#include "parallel.h"

namespace auricle {
namespace {

constexpr int FRAME = 512, CONTEXT = 64, PADDED = CONTEXT + FRAME + CONTEXT;  // samples
constexpr int WINDOW = 256, HOP = 128, SPECTRA = 4, BINS = WINDOW / 2 + 1, HALF = WINDOW / 2;
constexpr int WIDTH = 128, NARROW = 64, GATES = 4 * WIDTH;
#ifdef __AVX512F__
constexpr int MOST_VECTORS = 4, SUMS = 16;  // vectors of frames; vectors of gates that are summed at a time
#else
constexpr int MOST_VECTORS = 2, SUMS = 8;
#endif
// Rows of a product that are summed at a time: enough sums side by side to hide how long each takes.
constexpr int rows_at_a_time(int vectors) { return vectors == 1 ? 8 : 4; }
static_assert(GATES % (SUMS * VF_LANES) == 0 && NARROW % rows_at_a_time(1) == 0);

// All row-major, as `Network` of auricle/audio/vad.py has them; those of layer n are of its n-th product.
struct VoiceNetwork {
  const float* window;                        // [WINDOW]
  const float *weight1, *bias1;               // [D][3 F], [D]
  const float *weight2, *bias2;               // [2 * 64][T D]
  const float *weight3, *bias3;               // [64][2 * 64]
  const float *weight4, *bias4;               // [D][64]
  const float *input_weight, *gate_bias;      // [4 D][D], the sum of both biases
  const float* state_weight;                  // [4 D / (SUMS lanes)][D][SUMS lanes]
  const float* out_weight;                    // [D]
  float out_bias;
  float most_gain, target_level, smoothing, fall;  // of loudness
};

// Cosine and sine of 2 pi n / WINDOW, for the upper half of the circle.
struct Circle {
  float cosine[HALF], sine[HALF];
  Circle() {
    for (int n = 0; n < HALF; n++) {
      cosine[n] = (float)std::cos(2 * M_PI * n / WINDOW);
      sine[n] = (float)std::sin(2 * M_PI * n / WINDOW);
    }
  }
};

AURICLE_INLINE int reversed(int n) {
  int found = 0;
  for (int bit = 1; bit < HALF; bit <<= 1) found = found << 1 | ((n & bit) != 0);
  return found;
}

// Fourier transform of HALF complex numbers in bit-reversed order, in place (Cooley and Tukey, radix 2).
AURICLE_INLINE void transform(VF* re, VF* im, const Circle& circle) {
  for (int half = 1; half < HALF; half *= 2)
    for (int n = 0; n < half; n++) {
      const VF c = vset1(circle.cosine[n * (HALF / half)]), s = vset1(-circle.sine[n * (HALF / half)]);
      for (int at = n; at < HALF; at += 2 * half) {
        const int other = at + half;
        const VF x = vfnma(im[other], s, vmul(re[other], c)), y = vfma(re[other], s, vmul(im[other], c));
        re[other] = vsub(re[at], x), im[other] = vsub(im[at], y);
        re[at] = vadd(re[at], x), im[at] = vadd(im[at], y);
      }
    }
}

AURICLE_INLINE VF root(VF a) {
#ifdef __AVX512F__
  return _mm512_sqrt_ps(a);
#else
  return _mm256_sqrt_ps(a);
#endif
}

AURICLE_INLINE VF magnitude(VF re, VF im) { return root(vfma(re, re, vmul(im, im))); }

// Magnitudes [BINS] of the windowed spectrum of WINDOW samples: of rows of V vectors the first one, in and out.
template <int V>
void spectrum(const float* x, const float* window, float* y, const Circle& circle) {
  constexpr int FRAMES = V * VF_LANES;
  VF re[HALF], im[HALF];
  // Even samples as real and odd ones as imaginary parts: half as long a transform.
  for (int n = 0; n < HALF; n++) {
    const int at = 2 * reversed(n);
    re[n] = vmul(vload(x + at * FRAMES), vset1(window[at]));
    im[n] = vmul(vload(x + (at + 1) * FRAMES), vset1(window[at + 1]));
  }
  transform(re, im, circle);
  vstore(y, vabs(vadd(re[0], im[0])));
  vstore(y + HALF * FRAMES, vabs(vsub(re[0], im[0])));
  vstore(y + HALF / 2 * FRAMES, magnitude(re[HALF / 2], im[HALF / 2]));
  const VF half = vset1(0.5f);
  for (int k = 1; k < HALF / 2; k++) {
    const int other = HALF - k;
    // Of the even samples and of the odd ones; the latter turned by -pi k / HALF.
    const VF even_re = vmul(half, vadd(re[k], re[other])), even_im = vmul(half, vsub(im[k], im[other]));
    const VF odd_re = vmul(half, vadd(im[k], im[other])), odd_im = vmul(half, vsub(re[other], re[k]));
    const VF c = vset1(circle.cosine[k]), s = vset1(circle.sine[k]);
    const VF x = vfma(odd_im, s, vmul(odd_re, c)), z = vfnma(odd_re, s, vmul(odd_im, c));
    vstore(y + k * FRAMES, magnitude(vadd(even_re, x), vadd(even_im, z)));
    vstore(y + other * FRAMES, magnitude(vsub(even_re, x), vsub(even_im, z)));
  }
}

// y[m] = bias[m] + weight[m][K] x[K], at least 0 where asked for, in rows of V vectors; m is below a multiple of 8.
// Rows of weights are `stride` apart.
template <int V, bool RELU>
void product(const float* weight, int stride, const float* bias, int n_rows, const float* x, int n_in, float* y) {
  constexpr int FRAMES = V * VF_LANES, ROWS = rows_at_a_time(V);
  for (int row = 0; row < n_rows; row += ROWS) {
    VF sum[ROWS][V];
    for (int r = 0; r < ROWS; r++)
      for (int v = 0; v < V; v++) sum[r][v] = vset1(bias[row + r]);
    const float* w = weight + row * stride;
    for (int k = 0; k < n_in; k++) {
      VF in[V];
      for (int v = 0; v < V; v++) in[v] = vload(x + k * FRAMES + v * VF_LANES);
      for (int r = 0; r < ROWS; r++) {
        const VF factor = vset1(w[r * stride + k]);
        for (int v = 0; v < V; v++) sum[r][v] = vfma(factor, in[v], sum[r][v]);
      }
    }
    for (int r = 0; r < ROWS; r++)
      for (int v = 0; v < V; v++)
        vstore(y + (row + r) * FRAMES + v * VF_LANES, RELU ? vmax(sum[r][v], vzero()) : sum[r][v]);
  }
}

// One step of the recurrent layer (LSTM; gates in the order in, forget, cell, out), whose `gates` [4 D] hold what the
// frame gives them.
void recur(const float* weight, float* gates, float* hidden, float* cell) {
  for (int first = 0; first < GATES; first += SUMS * VF_LANES) {
    VF sum[SUMS];
    for (int s = 0; s < SUMS; s++) sum[s] = vload(gates + first + s * VF_LANES);
    for (int k = 0; k < WIDTH; k++, weight += SUMS * VF_LANES) {
      const VF value = vset1(hidden[k]);
      for (int s = 0; s < SUMS; s++) sum[s] = vfma(value, vload(weight + s * VF_LANES), sum[s]);
    }
    for (int s = 0; s < SUMS; s++) vstore(gates + first + s * VF_LANES, sum[s]);
  }
  // tanh(x) = 2 sigmoid(2 x) - 1
  const VF one = vset1(1.0f), two = vset1(2.0f);
  for (int d = 0; d < WIDTH; d += VF_LANES) {
    const VF in = vsigmoid(vload(gates + d)), forget = vsigmoid(vload(gates + WIDTH + d));
    const VF fresh = vsub(vmul(two, vsigmoid(vmul(two, vload(gates + 2 * WIDTH + d)))), one);
    const VF out = vsigmoid(vload(gates + 3 * WIDTH + d));
    const VF kept = vfma(forget, vload(cell + d), vmul(in, fresh));
    vstore(cell + d, kept);
    vstore(hidden + d, vmul(out, vsub(vmul(two, vsigmoid(vmul(two, kept))), one)));
  }
}

float probability(const VoiceNetwork& network, const float* hidden) {
  VF sum = vzero();
  for (int d = 0; d < WIDTH; d += VF_LANES)
    sum = vfma(vmax(vload(hidden + d), vzero()), vload(network.out_weight + d), sum);
  return 1.0f / (1.0f + std::exp(-(hsum(sum) + network.out_bias)));
}

// What is no number would stay in the recurrent state for ever.
AURICLE_INLINE float number_of(float x) { return std::fabs(x) <= 3.4028235e38f ? x : 0.0f; }

// What to multiply a frame with, by the level of all sound up to it; `loudness` holds the mean power and the level.
float gain_of(const VoiceNetwork& network, const float* frame, double* loudness) {
  double powers[8] = {};  // of every eighth sample: added side by side
  for (int n = 0; n < FRAME; n += 8)
    for (int i = 0; i < 8; i++) {
      const double x = number_of(frame[CONTEXT + n + i]);
      powers[i] += x * x;
    }
  double power = 0.0;
  for (int i = 0; i < 8; i++) power += powers[i] / FRAME;
  loudness[0] += network.smoothing * (power - loudness[0]);
  loudness[1] = std::max(loudness[1] * network.fall, std::sqrt(loudness[0]));
  return std::min(network.most_gain, std::max(1.0f, (float)(network.target_level / std::max(loudness[1], 1e-9))));
}

// y[i][j] = x[j][i] for n_rows times n_columns numbers.
void turn(const float* x, int64_t x_stride, int n_rows, int n_columns, float* y, int64_t y_stride) {
  // By squares of a cache line each way, so that what is written to in turn stays near.
  for (int row = 0; row < n_rows; row += VF_LANES)
    for (int column = 0; column < n_columns; column++)
      for (int i = row; i < std::min(n_rows, row + VF_LANES); i++) y[i * y_stride + column] = x[column * x_stride + i];
}

// The samples of n frames, made louder and with their end reflected, as rows of V vectors.
template <int V>
void take(const VoiceNetwork& network, const float* samples, int n, double* loudness, float* rows) {
  constexpr int FRAMES = V * VF_LANES;
  float gains[FRAMES];
  for (int f = 0; f < n; f++) gains[f] = loudness == nullptr ? 1.0f : gain_of(network, samples + f * FRAME, loudness);
  turn(samples, FRAME, CONTEXT + FRAME, n, rows, FRAMES);
  for (int at = 0; at < CONTEXT + FRAME; at++)
    for (int f = 0; f < n; f++) {
      float& sample = rows[at * FRAMES + f];
      sample = std::min(1.0f, std::max(-1.0f, number_of(sample) * gains[f]));
    }
  for (int at = 0; at < CONTEXT; at++)
    std::copy_n(rows + (CONTEXT + FRAME - 2 - at) * FRAMES, n, rows + (CONTEXT + FRAME + at) * FRAMES);
}

// What is computed of V vectors of frames, all in rows of so many.
template <int V>
struct Rooms {
  static constexpr int FRAMES = V * VF_LANES;
  std::vector<float> samples, magnitudes, first, second, third, fourth, gates, gates_of_frames;
  Rooms()
      : samples(PADDED * FRAMES), magnitudes(SPECTRA * BINS * FRAMES), first(SPECTRA * WIDTH * FRAMES),
        second(2 * NARROW * FRAMES), third(NARROW * FRAMES), fourth(WIDTH * FRAMES), gates(GATES * FRAMES),
        gates_of_frames(GATES * FRAMES) {}
};

// The gates of all frames, but for what the state gives them.
template <int V>
void gates_of(const VoiceNetwork& network, Rooms<V>& rooms) {
  constexpr int FRAMES = V * VF_LANES;
  static const Circle circle;
  for (int t = 0; t < SPECTRA; t++)
    for (int v = 0; v < V; v++)
      spectrum<V>(&rooms.samples[t * HOP * FRAMES + v * VF_LANES], network.window,
               &rooms.magnitudes[t * BINS * FRAMES + v * VF_LANES], circle);
  for (int t = 0; t < SPECTRA; t++) {
    // Of the spectrum before, it and the one after, those that exist.
    const int first = std::max(t - 1, 0), last = std::min(t + 2, SPECTRA);
    product<V, true>(network.weight1 + (first - t + 1) * BINS, 3 * BINS, network.bias1, WIDTH,
                  &rooms.magnitudes[first * BINS * FRAMES], (last - first) * BINS, &rooms.first[t * WIDTH * FRAMES]);
  }
  // The second and the third take every other place of a row with a zero on both sides.
  constexpr int ALL = SPECTRA * WIDTH;
  product<V, true>(network.weight2, ALL, network.bias2, NARROW, rooms.first.data(), 2 * WIDTH, rooms.second.data());
  product<V, true>(network.weight2 + NARROW * ALL + WIDTH, ALL, network.bias2 + NARROW, NARROW,
                &rooms.first[WIDTH * FRAMES], 3 * WIDTH, &rooms.second[NARROW * FRAMES]);
  product<V, true>(network.weight3, 2 * NARROW, network.bias3, NARROW, rooms.second.data(), 2 * NARROW,
                   rooms.third.data());
  product<V, true>(network.weight4, NARROW, network.bias4, WIDTH, rooms.third.data(), NARROW, rooms.fourth.data());
  product<V, false>(network.input_weight, WIDTH, network.gate_bias, GATES, rooms.fourth.data(), WIDTH,
                    rooms.gates.data());
}

// Probabilities of at most V vectors of frames.
template <int V>
void hear(const VoiceNetwork& network, const float* samples, int n, double* loudness, float* state, float* found,
          Rooms<V>& rooms) {
  take<V>(network, samples, n, loudness, rooms.samples.data());
  gates_of(network, rooms);
  turn(rooms.gates.data(), rooms.FRAMES, n, GATES, rooms.gates_of_frames.data(), GATES);
  for (int f = 0; f < n; f++) {
    recur(network.state_weight, &rooms.gates_of_frames[f * GATES], state, state + WIDTH);
    found[f] = probability(network, state);
  }
}

}  // namespace

// How many gates lie side by side in `state_weight`.
AURICLE_EXPORT int64_t auricle_voice_gates() { return SUMS * VF_LANES; }

// Probabilities [n] of frames of 512 samples, each with the 64 before it: `samples` [64 + 512 n]. `state` is the
// recurrent layer's, [2][128], and `loudness` the mean power and the level so far, left alone where gains are to be 1;
// both are of one stream, and go on.
AURICLE_EXPORT void auricle_voice(const VoiceNetwork* network, const float* samples, int64_t n_frames,
                                  int32_t is_loudness_aware, double* loudness, float* state, float* probabilities) {
  if (!is_loudness_aware) loudness = nullptr;
  constexpr int MANY = MOST_VECTORS * VF_LANES;
  int64_t done = 0;
  if (n_frames > VF_LANES) {
    Rooms<MOST_VECTORS> rooms;
    for (; n_frames - done > VF_LANES; done += std::min<int64_t>(MANY, n_frames - done))
      hear(*network, samples + done * FRAME, (int)std::min<int64_t>(MANY, n_frames - done), loudness, state,
           probabilities + done, rooms);
  }
  if (done < n_frames) {
    Rooms<1> rooms;
    hear(*network, samples + done * FRAME, (int)(n_frames - done), loudness, state, probabilities + done, rooms);
  }
}

}  // namespace auricle
