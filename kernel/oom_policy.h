/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABI between the kernel's OOM killer and a policy: what a BPF program attached to bpf_oom_score() returns, and
 * the points that the kernel then compares. Belongs here: the encoding and its decoding, for the module and for the
 * patch alike. Must not know: how a policy comes to its answer.
 *
 * An fmod_ret program that returns 0 lets the target itself run, so 0 is DEFER, and a score of 0 must not look like
 * it: the answer carries its band in the low three bits and the score above them.
 */
#ifndef _OOM_POLICY_H
#define _OOM_POLICY_H

#include <linux/types.h>
#include <linux/minmax.h>

enum oom_policy_band {
	OOM_POLICY_DEFER = 0,		/* no opinion: the kernel's badness */
	OOM_POLICY_SCORE = 1,		/* the score, in pages */
	OOM_POLICY_PRESELECTED = 2,	/* before all scores: 2^61 + score */
	OOM_POLICY_KILL = 3,		/* before all others: 2^62 + badness */
	OOM_POLICY_SPARE = 4,		/* after all others: -2^61 + badness */
};
#define OOM_POLICY_BAND_BITS	3
#define OOM_POLICY_CLAMP	((1LL << 60) - 1)

static inline long oom_policy_clamp(long score)
{
	return clamp_t(long, score, -OOM_POLICY_CLAMP, OOM_POLICY_CLAMP);
}

/* The answer of a program: (score << OOM_POLICY_BAND_BITS) | band; score is ignored but in two bands. */
static inline long oom_policy_points(long answer, long badness)
{
	long score = answer >> OOM_POLICY_BAND_BITS;

	switch (answer & ((1 << OOM_POLICY_BAND_BITS) - 1)) {
	case OOM_POLICY_SCORE:
		return oom_policy_clamp(score);
	case OOM_POLICY_PRESELECTED:
		return (1L << 61) + oom_policy_clamp(score);
	case OOM_POLICY_KILL:
		return (1L << 62) + oom_policy_clamp(badness);
	case OOM_POLICY_SPARE:
		return -(1L << 61) + oom_policy_clamp(badness);
	default:
		return badness;
	}
}

#endif
