// What the kernels compute, apart from XLA. Each has items that any thread may
// compute in any order; an item writes only its own part of the results. All
// arrays are dense and row-major, in the letters of model/mamba/doc.go.
#ifndef MES_COMPUTE_H
#define MES_COMPUTE_H

#include <stdint.h>

enum {
	LANES = 16,        // channels that a scan moves on together
	MAX_STATES = 256,  // largest N of a scan
	MAX_HEAD = 16384,  // largest P × N of Mamba-2's scan, P rounded up to LANES
	MAX_TAPS = 8,      // largest K of the convolution
	ROWS = 16,         // outputs of an item of a product
	MAX_VECTORS = 4,   // largest number of vectors of a product
	CONV_STEPS = 32,   // tokens of an item of the convolution
	FEW_ROWS = 4,      // outputs of an item of a small product
};

// Mamba-1: h_t = exp(delta_t A) h_{t-1} + B_t dx_t, y_t = C_t h_t.
// Items: batch × ceil(channels / LANES).
typedef struct {
	int64_t batch, steps, channels, states;
	const float *h, *delta, *dx, *a, *b, *c; // [B,N,di] [B,T,di] [B,T,di] [N,di] [B,T,N] [B,T,N]
	float *y, *last;                         // [B,T,di] [B,N,di]
} scan1;

// Mamba-2: h_t = exp(da_t) h_{t-1} + dx_t ⊗ B_t, y_t = h_t C_t. Items: batch × heads.
typedef struct {
	int64_t batch, steps, groups, heads, head, states;
	const float *h, *da, *dx, *b, *c; // [B,H,P,N] [B,T,H] [B,T,H,P] [B,T,G,N] [B,T,G,N]
	float *y, *last;                  // [B,T,H,P] [B,H,P,N]
} scan2;

// y = x Wᵀ for few vectors x and int8 weights. Items: ceil(outputs / ROWS).
typedef struct {
	int64_t vectors, inputs, outputs;
	const int8_t *w;    // [outputs, inputs], in units of scale
	const float *scale; // [outputs]
	const int16_t *q;   // x in units of step, [vectors, inputs]
	float step[MAX_VECTORS];
	float *y; // [vectors, outputs]
} product;

// The causal convolution of columns [first, first+channels) of x, and SiLU. Where
// mask is 0, x is taken as 0 and y is 0.
// Items: batch × ceil(steps / CONV_STEPS).
typedef struct {
	int64_t batch, steps, channels, taps, columns, first;
	const float *x, *mask, *state, *w, *bias; // [B,T,columns] [B,T] [B,K-1,C] [C,K] [C]
	float *y;                          // [B,T,C]
} conv;

// Rows of weights: W = scale × w for int8, which meets the vector in int16, else w.
enum { F32, BF16, S8 };
typedef struct {
	int type;
	int64_t outputs, inputs;
	const void *w;      // [outputs, inputs]
	const float *scale; // [outputs] for int8
} matrix;

// A layer for one token: x + out_proj(mixer(norm(x))), where A is -exp(a_log). Both
// kinds have the same stages, of which some have no items for one of them. Each
// stage's items may be computed after those of the stages before.
enum { MAMBA1, MAMBA2 };
typedef struct {
	int kind;
	int64_t width, inner, channels, states, taps; // d, di, the convolution's (di or di+2GN), N, K
	float eps;
	matrix in, out;
	const float *x, *norm;                   // [d]
	const float *conv, *conv_w, *conv_b;     // [K-1,channels] [channels,K] [channels]
	const float *dt_bias, *a_log, *skip, *h; // Mamba-1: [di] [di,N] [di] [N,di], Mamba-2: [H] [H] [H] [di,N]
	float *y, *last_conv, *last;             // as x, conv and h
	float *normed, *u, *z;                   // between stages: [d] [channels] [di+H]
	int16_t *q;                              // a vector as int16, [max(d, di)]
	float step;
	// Mamba-1 alone.
	int64_t rank;    // R
	float mixer_eps; // a negative one: B, C and delta have no norm
	matrix x_proj, dt_proj;
	float *dbc; // between stages: [R+2N]
	// Mamba-2 alone, for which Mamba-1 has zeros.
	int64_t heads, groups, norm_group; // H, G, channels that have a norm together; 0: no norm
	int norm_first;                    // before the gate
	float least, most;                 // limits of delta
	const float *mixer_norm;           // [di]
} layer;

enum { LAYER_STAGES = 7 };

// The kernels for one set of vector instructions.
typedef struct {
	const char *name;
	void (*scan1)(const scan1 *, int64_t item);
	void (*scan2)(const scan2 *, int64_t item);
	void (*product)(const product *, int64_t item);
	void (*conv)(const conv *, int64_t item);
	int64_t (*layer_items)(const layer *, int stage);
	void (*layer)(layer *, int stage, int64_t item);
	// Writes round(x / step) and gives step = max|x| / 32767, no number if an x is none.
	float (*quantize)(const float *x, int64_t n, int16_t *q);
} kernels;

extern const kernels kernels_plain, kernels_avx2, kernels_avx512;

#endif
