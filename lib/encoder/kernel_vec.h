/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kernel_vec.h - the widest vector of the instruction set that a file is compiled for
 *
 * Private to the kernel files that are compiled with -mavx512f and company or with -mavx2 -mfma:
 * what stands on these few names is written once and compiled for each. vf is VF_LANES floats, vi
 * as many 32-bit integers, which may stand for a "unit": one float, two bf16 or four bytes.
 */
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Before a loop over registers: its bound is known where it is inlined, and it must disappear. */
#ifdef __clang__
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#ifdef __AVX512F__
#define VF_IS_512 1

enum { VF_LANES = 16 };
typedef __m512 vf;
typedef __m512i vi;

/* clang-format off */
static ALWAYS_INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
static ALWAYS_INLINE void vf_store(float *p, vf a) { _mm512_storeu_ps(p, a); }
static ALWAYS_INLINE vf vf_set(float a) { return _mm512_set1_ps(a); }
static ALWAYS_INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
static ALWAYS_INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
static ALWAYS_INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
static ALWAYS_INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
static ALWAYS_INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
static ALWAYS_INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
static ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
static ALWAYS_INLINE vf vf_round(vf a) { return _mm512_roundscale_ps(a, 8); }
static ALWAYS_INLINE vf vf_of_int(vi a) { return _mm512_cvtepi32_ps(a); }
static ALWAYS_INLINE vi vi_of_float(vf a) { return _mm512_cvtps_epi32(a); }
static ALWAYS_INLINE vf vf_of_bits(vi a) { return _mm512_castsi512_ps(a); }
static ALWAYS_INLINE vi vi_of_bits(vf a) { return _mm512_castps_si512(a); }
static ALWAYS_INLINE vi vi_load(const void *p) { return _mm512_loadu_si512(p); }
static ALWAYS_INLINE void vi_store(void *p, vi a) { _mm512_storeu_si512(p, a); }
static ALWAYS_INLINE vi vi_set(int32_t a) { return _mm512_set1_epi32(a); }
static ALWAYS_INLINE vi vi_add(vi a, vi b) { return _mm512_add_epi32(a, b); }
static ALWAYS_INLINE vi vi_sub(vi a, vi b) { return _mm512_sub_epi32(a, b); }
static ALWAYS_INLINE vi vi_and(vi a, vi b) { return _mm512_and_si512(a, b); }
static ALWAYS_INLINE vi vi_mul(vi a, vi b) { return _mm512_mullo_epi32(a, b); }
static ALWAYS_INLINE vi vi_shl(vi a, unsigned n) { return _mm512_slli_epi32(a, n); }
static ALWAYS_INLINE float vf_sum(vf a) { return _mm512_reduce_add_ps(a); }
static ALWAYS_INLINE float vf_highest(vf a) { return _mm512_reduce_max_ps(a); }
static ALWAYS_INLINE float vf_lowest(vf a) { return _mm512_reduce_min_ps(a); }
/* clang-format on */

/* Four vectors of integers, clamped to 0..255, as bytes in order. */
static ALWAYS_INLINE vi
vi_bytes(vi a, vi b, vi c, vi d)
{
	const vi order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);

	return _mm512_permutexvar_epi32(
		order, _mm512_packus_epi16(_mm512_packs_epi32(a, b), _mm512_packs_epi32(c, d)));
}

/* Rows become columns. */
static ALWAYS_INLINE void
vi_transpose(vi r[VF_LANES])
{
	vi t[VF_LANES];

	UNROLL
	for (int i = 0; i < 16; i += 2) {
		t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
		t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
	}
	UNROLL
	for (int i = 0; i < 16; i += 4) {
		r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
		r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
		r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
		r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	UNROLL
	for (int i = 0; i < 4; i++) {
		t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
		t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
		t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
		t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
	}
	UNROLL
	for (int i = 0; i < 4; i++) {
		r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
		r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
		r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
		r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
	}
}

#else
#define VF_IS_512 0

enum { VF_LANES = 8 };
typedef __m256 vf;
typedef __m256i vi;

/* clang-format off */
static ALWAYS_INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
static ALWAYS_INLINE void vf_store(float *p, vf a) { _mm256_storeu_ps(p, a); }
static ALWAYS_INLINE vf vf_set(float a) { return _mm256_set1_ps(a); }
static ALWAYS_INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
static ALWAYS_INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
static ALWAYS_INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
static ALWAYS_INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
static ALWAYS_INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
static ALWAYS_INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
static ALWAYS_INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
static ALWAYS_INLINE vf vf_round(vf a) { return _mm256_round_ps(a, 8); }
static ALWAYS_INLINE vf vf_of_int(vi a) { return _mm256_cvtepi32_ps(a); }
static ALWAYS_INLINE vi vi_of_float(vf a) { return _mm256_cvtps_epi32(a); }
static ALWAYS_INLINE vf vf_of_bits(vi a) { return _mm256_castsi256_ps(a); }
static ALWAYS_INLINE vi vi_of_bits(vf a) { return _mm256_castps_si256(a); }
static ALWAYS_INLINE vi vi_load(const void *p) { return _mm256_loadu_si256(p); }
static ALWAYS_INLINE void vi_store(void *p, vi a) { _mm256_storeu_si256(p, a); }
static ALWAYS_INLINE vi vi_set(int32_t a) { return _mm256_set1_epi32(a); }
static ALWAYS_INLINE vi vi_add(vi a, vi b) { return _mm256_add_epi32(a, b); }
static ALWAYS_INLINE vi vi_sub(vi a, vi b) { return _mm256_sub_epi32(a, b); }
static ALWAYS_INLINE vi vi_and(vi a, vi b) { return _mm256_and_si256(a, b); }
static ALWAYS_INLINE vi vi_mul(vi a, vi b) { return _mm256_mullo_epi32(a, b); }
static ALWAYS_INLINE vi vi_shl(vi a, unsigned n) { return _mm256_slli_epi32(a, (int)n); }
/* clang-format on */

/* Halves folded onto each other: the order of additions is part of the result. */
static ALWAYS_INLINE float
vf_sum(vf a)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

static ALWAYS_INLINE float
vf_highest(vf a)
{
	__m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));

	s = _mm_max_ps(s, _mm_movehl_ps(s, s));
	return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

static ALWAYS_INLINE float
vf_lowest(vf a)
{
	return -vf_highest(vf_sub(vf_set(0), a));
}

/* Four vectors of integers, clamped to 0..255, as bytes in order. */
static ALWAYS_INLINE vi
vi_bytes(vi a, vi b, vi c, vi d)
{
	const vi order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);

	return _mm256_permutevar8x32_epi32(
		_mm256_packus_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d)), order);
}

/* Rows become columns. */
static ALWAYS_INLINE void
vi_transpose(vi r[VF_LANES])
{
	vi t[VF_LANES];

	UNROLL
	for (int i = 0; i < 8; i += 2) {
		t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
		t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
	}
	UNROLL
	for (int i = 0; i < 8; i += 4) {
		r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
		r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
		r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
		r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
	}
	UNROLL
	for (int i = 0; i < 4; i++) {
		t[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
		t[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
	}
	UNROLL
	for (int i = 0; i < 8; i++)
		r[i] = t[i];
}

#endif
