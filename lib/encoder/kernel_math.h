/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_math.h - exp, tanh and GELU of a vector
 *
 * Private to the kernel files. The coefficients were fitted for these ranges (weighted least
 * squares on Chebyshev points, moved towards minimax); the bounds below are of the f32 arithmetic
 * as it runs, and test_kernel measures them.
 */
#pragma once

#include "lib/encoder/kernel.h"
#include "lib/encoder/kernel_vec.h"

/* Relative error <= 2e-7. Below -87 it stays at exp(-87), 1.6e-38; above 88 at exp(88). */
static ALWAYS_INLINE vf
vf_exp(vf x)
{
	vf n, r, p;

	x = vf_min(vf_max(x, vf_set(-87.0f)), vf_set(88.0f));
	n = vf_round(vf_mul(x, vf_set(1.44269504f)));
	r = vf_fma(n, vf_set(-0.693359375f), x); /* ln 2 in two parts: the first has few bits */
	r = vf_fma(n, vf_set(2.12194440e-4f), r);
	p = vf_fma(vf_set(0.00138146139f), r, vf_set(0.00836871006f));
	p = vf_fma(p, r, vf_set(0.041668389f));
	p = vf_fma(p, r, vf_set(0.166665211f));
	p = vf_fma(p, r, vf_set(0.49999994f));
	p = vf_fma(vf_mul(r, r), p, vf_add(r, vf_set(1.0f)));
	return vf_mul(p, vf_of_bits(vi_shl(vi_add(vi_of_float(n), vi_set(127)), 23)));
}

/* Absolute error <= 3e-7. */
static ALWAYS_INLINE vf
vf_tanh(vf x)
{
	const vf one = vf_set(1.0f);

	return vf_sub(one, vf_div(vf_set(2.0f), vf_add(vf_exp(vf_add(x, x)), one)));
}

/* x/2 (1 + erf(x / sqrt 2)): erf as a quotient of two polynomials of degree 5 in x^2 / 2; at 3.9
 * it is 1 less 3.5e-8. Absolute error <= 1e-6 (of the result's size above 8). */
static ALWAYS_INLINE vf
vf_gelu(vf x)
{
	const vf edge = vf_set(3.9f);
	vf z = vf_mul(x, vf_set(0.707106781f)), t, p, q, half;

	z = vf_max(vf_min(z, edge), vf_sub(vf_set(0), edge));
	t = vf_mul(z, z);
	p = vf_fma(vf_set(2.05037941e-06f), t, vf_set(0.000287457893f));
	q = vf_fma(vf_set(3.82306935e-05f), t, vf_set(0.00118174241f));
	p = vf_fma(p, t, vf_set(0.00383690977f));
	q = vf_fma(q, t, vf_set(0.0151092708f));
	p = vf_fma(p, t, vf_set(0.0529670194f));
	q = vf_fma(q, t, vf_set(0.114758529f));
	p = vf_fma(p, t, vf_set(0.191941813f));
	q = vf_fma(q, t, vf_set(0.503435791f));
	p = vf_fma(p, t, vf_set(1.12837899f));
	q = vf_fma(q, t, vf_set(1.0f));
	half = vf_mul(x, vf_set(0.5f));
	return vf_fma(half, vf_div(vf_mul(z, p), q), half);
}

/* The same for results that become 8 bits of mantissa or a byte: erf(x / sqrt 2) as x times one
 * polynomial in x^2, which is 1 / x at 4.2 and held from there on. Absolute error <= 1e-4. */
static ALWAYS_INLINE vf
vf_gelu_rough(vf x)
{
	const vf edge = vf_set(4.2f);
	vf z = vf_max(vf_min(x, edge), vf_sub(vf_set(0), edge)), t = vf_mul(z, z), p, half;

	p = vf_fma(vf_set(-1.80349398e-09f), t, vf_set(1.58825898e-07f));
	p = vf_fma(p, t, vf_set(-6.07583752e-06f));
	p = vf_fma(p, t, vf_set(0.000133781012f));
	p = vf_fma(p, t, vf_set(-0.00190131196f));
	p = vf_fma(p, t, vf_set(0.0185964458f));
	p = vf_fma(p, t, vf_set(-0.131056379f));
	p = vf_fma(p, t, vf_set(0.796931732f));
	half = vf_mul(x, vf_set(0.5f));
	return vf_fma(half, vf_mul(z, p), half);
}

/* x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), in the form x / (1 + exp(-2 ...)). */
static ALWAYS_INLINE vf
vf_gelu_tanh(vf x)
{
	vf u = vf_mul(x, vf_fma(vf_mul(x, x), vf_set(0.0713548163f), vf_set(1.59576912f)));

	return vf_div(x, vf_add(vf_set(1.0f), vf_exp(vf_sub(vf_set(0), u))));
}

/* An epilogue that needs no second matrix. kind and dtype, the weights', are known where this is
 * inlined. */
static ALWAYS_INLINE vf
vf_activate(const enum kernel_epilogue kind, const enum encoder_dtype dtype, vf x)
{
	switch (kind) {
	case KERNEL_GELU:
		return dtype == ENCODER_F32 ? vf_gelu(x) : vf_gelu_rough(x);
	case KERNEL_GELU_TANH:
		return vf_gelu_tanh(x);
	case KERNEL_RELU:
		return vf_max(x, vf_set(0));
	case KERNEL_TANH:
		return vf_tanh(x);
	case KERNEL_NONE:
	case KERNEL_RESIDUAL:
	case KERNEL_EPILOGUES:
		break;
	}
	return x;
}
