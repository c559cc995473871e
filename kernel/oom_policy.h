/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ABI between the OOM killer and a policy: what a BPF program attached to
 * bpf_oom_score() returns, and the points that the kernel then compares.
 * Belongs here: the encoding and its decoding, whether the hook is built in or
 * a module. Must not know: how a policy comes to its answer.
 *
 * An fmod_ret program that returns 0 lets the function itself answer, so 0 is
 * DEFER. A score of 0 must not look like it: an answer carries its band in the
 * low three bits and the score above them.
 */
#ifndef _OOM_POLICY_H
#define _OOM_POLICY_H

#include <linux/types.h>
#include <linux/minmax.h>

#define OOM_POLICY_ABI	1	/* changes when an answer comes to mean something else */

enum oom_policy_band {
	OOM_POLICY_DEFER = 0,		/* no opinion: the kernel's badness */
	OOM_POLICY_SCORE = 1,		/* the score, in pages */
	OOM_POLICY_PRESELECTED = 2,	/* before all scores: 2^61 + score */
	OOM_POLICY_KILL = 3,		/* before all others: 2^62 + badness */
	OOM_POLICY_SPARE = 4,		/* after all others: -2^61 + badness */
};
#define OOM_POLICY_BAND_BITS	3
#define OOM_POLICY_BAND_MASK	((1L << OOM_POLICY_BAND_BITS) - 1)
#define OOM_POLICY_CLAMP	((1L << 60) - 1)

/* The bands need 63 bits; no policy is better than one that overflows. */
_Static_assert(sizeof(long) == 8, "oom_policy: a long must have 64 bits");

static inline long oom_policy_clamp(long score)
{
	return clamp(score, -OOM_POLICY_CLAMP, OOM_POLICY_CLAMP);
}

/*
 * An answer is (score << OOM_POLICY_BAND_BITS) | band; the score counts in two
 * bands only. A band that is not in the table is no opinion. No answer gives
 * LONG_MIN, which means "not to be killed": a policy that spares everyone still
 * yields a victim.
 */
static inline long oom_policy_points(long answer, long badness)
{
	long score = answer >> OOM_POLICY_BAND_BITS;

	switch (answer & OOM_POLICY_BAND_MASK) {
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
