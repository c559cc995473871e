// SPDX-License-Identifier: GPL-2.0
/*
 * oom_policy: a BPF program answers for the points of each candidate of an OOM, in a kernel that was not built for it.
 *
 * Belongs here: getting between out_of_memory(), oom_badness() and their callers, asking bpf_oom_score(), and getting
 * out again at any moment. Must not know: what the answers mean (oom_policy.h), or how a policy comes to them.
 *
 *   out_of_memory(oc)                       called with oom_lock held, by whoever ran out
 *     -> oom_policy_out_of_memory(oc)       notes that this task is inside, and with which oc
 *          -> out_of_memory(oc)             the kernel's own, not redirected because this task is inside
 *               -> oom_badness(task, ...)   for each candidate
 *                    -> oom_policy_oom_badness(task, ...)   asks the kernel's own, then bpf_oom_score()
 *
 * Nothing here allocates, sleeps or takes a lock but in module_init and module_exit.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <linux/btf_ids.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/oom.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/static_call.h>

#include "oom_policy.h"

#ifdef CONFIG_BPF_OOM_POLICY
#error "oom_policy: this kernel has bpf_oom_score() built in and needs no module"
#endif
#ifndef CONFIG_KPROBES
#error "oom_policy needs CONFIG_KPROBES, to find functions that are not exported"
#endif
#if !defined(CONFIG_DYNAMIC_FTRACE_WITH_REGS) && !defined(CONFIG_DYNAMIC_FTRACE_WITH_ARGS)
#error "oom_policy needs CONFIG_DYNAMIC_FTRACE_WITH_ARGS or _WITH_REGS, to redirect functions"
#endif
#if !defined(CONFIG_DEBUG_INFO_BTF_MODULES) || !defined(CONFIG_BPF_JIT)
#error "oom_policy needs CONFIG_DEBUG_INFO_BTF_MODULES and CONFIG_BPF_JIT, for BPF to attach to it"
#endif

/*
 * The one OOM under way. oom_lock is held by who calls out_of_memory(), so there is one at a time and one writer.
 * Other tasks only compare owner with themselves, which is false for them whenever they look.
 */
static struct {
	struct task_struct *owner;	/* who is inside out_of_memory(), NULL between two OOMs */
	struct oom_control *oc;
	bool in_oom_badness;		/* the owner is inside the kernel's own */
} under_way;

static atomic_t in_flight = ATOMIC_INIT(0);	/* tasks that will return into this module's text */

static unsigned long abi = OOM_POLICY_ABI;
static unsigned long events;	/* OOMs seen; oom_lock orders the writes, here and below */
static unsigned long asked;	/* candidates that bpf_oom_score() was asked about */
static unsigned long answered;	/* with another answer than DEFER */

/*
 * The kernel's own functions. A static call becomes a direct call where the architecture has them: a function whose
 * address the kernel never takes has lost its landing pad (ENDBR, see apply_seal_endbr()), so that a call by pointer
 * would be a fault on a processor that enforces indirect branch tracking.
 */
DEFINE_STATIC_CALL_RET0(own_out_of_memory, out_of_memory);
DEFINE_STATIC_CALL_RET0(own_oom_badness, oom_badness);

/*
 * What BPF programs attach to. Weak, so that the compiler believes neither that the answer is always the same nor
 * that a call does nothing.
 */
#ifdef __bpf_hook_start
__bpf_hook_start();
#else
__diag_push();
__diag_ignore_all("-Wmissing-prototypes", "called from here and by BPF alone");
__diag_ignore_all("-Wmissing-declarations", "the same, for clang");
#endif

/* fmod_ret: the answer for @task, whose badness is @points; see oom_policy.h. Never asked about the unkillable. */
__weak noinline long bpf_oom_score(struct task_struct *task, struct oom_control *oc, long points)
{
	return OOM_POLICY_DEFER;
}

/* fentry: an OOM begins. The kernel has not filled in totalpages and constraint yet. */
__weak noinline void oom_policy_begin(struct oom_control *oc)
{
}

/*
 * fentry: it is over; @found is what out_of_memory() returns. totalpages, constraint and chosen_points are those of
 * the choice. The victim's task_struct may be gone: oc->chosen is good for comparing, not for following.
 */
__weak noinline void oom_policy_end(struct oom_control *oc, bool found)
{
}

#ifdef __bpf_hook_end
__bpf_hook_end();
#else
__diag_pop();
#endif

#ifdef BTF_KFUNCS_START
BTF_KFUNCS_START(oom_policy_fmodret_ids)
BTF_ID_FLAGS(func, bpf_oom_score)
BTF_KFUNCS_END(oom_policy_fmodret_ids)
#else
BTF_SET8_START(oom_policy_fmodret_ids)
BTF_ID_FLAGS(func, bpf_oom_score)
BTF_SET8_END(oom_policy_fmodret_ids)
#endif

static const struct btf_kfunc_id_set fmodret_set = {
	.owner = THIS_MODULE,
	.set = &oom_policy_fmodret_ids,
};

static noinline bool oom_policy_out_of_memory(struct oom_control *oc)
{
	bool found;

	atomic_inc(&in_flight);
	events++;
	under_way.oc = oc;
	WRITE_ONCE(under_way.owner, current);
	oom_policy_begin(oc);
	found = static_call(own_out_of_memory)(oc);
	oom_policy_end(oc, found);
	WRITE_ONCE(under_way.owner, NULL);
	under_way.oc = NULL;
	atomic_dec(&in_flight);
	return found;
}

static noinline long oom_policy_oom_badness(struct task_struct *p, unsigned long totalpages)
{
	struct oom_control *oc = under_way.oc;
	long badness, answer;

	WRITE_ONCE(under_way.in_oom_badness, true);
	badness = static_call(own_oom_badness)(p, totalpages);
	WRITE_ONCE(under_way.in_oom_badness, false);
	/* Nobody may be killed against the kernel's word, nor ranked where it is not this OOM that asks. */
	if (badness == LONG_MIN || totalpages != oc->totalpages)
		return badness;
	asked++;
	answer = bpf_oom_score(p, oc, badness);
	if (answer != OOM_POLICY_DEFER)
		answered++;
	return oom_policy_points(answer, badness);
}

/*
 * At the entry of the kernel's functions, with preemption as the caller has it. A redirection left out (another
 * tracer's recursion guard can do that) leaves the kernel's own behaviour; one too many would never end, so both ask
 * for a state that only the task itself can have set, and not for the caller's address, which a return probe replaces.
 */
static void notrace enter_out_of_memory(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
					struct ftrace_regs *fregs)
{
	if (READ_ONCE(under_way.owner) != current)
		ftrace_regs_set_instruction_pointer(fregs, (unsigned long)oom_policy_out_of_memory);
}

static void notrace enter_oom_badness(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
				      struct ftrace_regs *fregs)
{
	if (READ_ONCE(under_way.owner) == current && !READ_ONCE(under_way.in_oom_badness))
		ftrace_regs_set_instruction_pointer(fregs, (unsigned long)oom_policy_oom_badness);
}

/* The flags of a live patch, for the same reasons: see klp_patch_func(). PERMANENT: no sysctl switches it off. */
#ifdef CONFIG_HAVE_DYNAMIC_FTRACE_WITH_ARGS
#define REDIRECT_FLAGS	(FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT)
#else
#define REDIRECT_FLAGS	(FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT | FTRACE_OPS_FL_SAVE_REGS)
#endif

static struct ftrace_ops out_of_memory_ops = { .func = enter_out_of_memory, .flags = REDIRECT_FLAGS };
static struct ftrace_ops oom_badness_ops = { .func = enter_oom_badness, .flags = REDIRECT_FLAGS };

/* The address of a function that is not exported, from a kprobe that is never armed. */
static void *find(const char *name)
{
	struct kprobe probe = { .symbol_name = name, .flags = KPROBE_FLAG_DISABLED };
	int error = register_kprobe(&probe);

	if (error) {
		pr_err("%s: not found by a kprobe (%d): this kernel has no such function, or kprobes are off\n", name, error);
		return ERR_PTR(error);
	}
	unregister_kprobe(&probe);
	return probe.addr;
}

static int redirect(struct ftrace_ops *ops, const char *name, void *address)
{
	int error = ftrace_set_filter_ip(ops, (unsigned long)address, 0, 0);

	if (error) {
		pr_err("%s: ftrace cannot reach it (%d): it is not traceable in this kernel\n", name, error);
		return error;
	}
	error = register_ftrace_function(ops);
	if (error == -EBUSY)
		pr_err("%s: held by a live patch or another redirection, or ftrace is off (sysctl kernel.ftrace_enabled): remove the one or switch on the other\n",
		       name);
	else if (error)
		pr_err("%s: ftrace does not redirect it (%d)\n", name, error);
	if (error)
		ftrace_free_filter(ops);
	return error;
}

static void undo(struct ftrace_ops *ops, const char *name)
{
	/* Fails only where ftrace has shut itself down after a bug: better to stay forever than to pull the text away. */
	while (unregister_ftrace_function(ops)) {
		pr_err_once("%s: ftrace does not let go of it: the module cannot be removed before a reboot\n", name);
		schedule_timeout_uninterruptible(10 * HZ);
	}
	ftrace_free_filter(ops);
}

/*
 * Nobody who was redirected may still be here when this returns. Who has been redirected has counted itself in by its
 * next voluntary context switch, which the first synchronize_rcu_tasks() waits for; then the count is complete, and
 * falls to zero when the OOM under way ends; the last one waits for whoever is between its decrement and its return.
 */
static void wait_until_left(void)
{
	synchronize_rcu_tasks();
	while (atomic_read(&in_flight))
		schedule_timeout_uninterruptible(HZ / 50);
	synchronize_rcu_tasks();
}

static int check_btf(void)
{
	if (!THIS_MODULE->btf_data_size || !oom_policy_fmodret_ids.pairs[0].id) {
		pr_err("built or packaged without BTF: build it with pahole installed and a vmlinux in the kernel's build folder\n");
		return -ENOEXEC;
	}
	return 0;
}

static int __init oom_policy_init(void)
{
	void *out_of_memory_address, *oom_badness_address;
	int error = check_btf();

	if (error)
		return error;
	error = register_btf_fmodret_id_set(&fmodret_set);
	if (error) {
		pr_err("bpf_oom_score: not accepted as an fmod_ret target (%d)\n", error);
		return error;
	}
	out_of_memory_address = find("out_of_memory");
	if (IS_ERR(out_of_memory_address))
		return PTR_ERR(out_of_memory_address);
	oom_badness_address = find("oom_badness");
	if (IS_ERR(oom_badness_address))
		return PTR_ERR(oom_badness_address);
	static_call_update(own_out_of_memory, out_of_memory_address);
	static_call_update(own_oom_badness, oom_badness_address);

	/* An event starts with out_of_memory(), which therefore comes last here and goes first at the end. */
	error = redirect(&oom_badness_ops, "oom_badness", oom_badness_address);
	if (error)
		return error;
	error = redirect(&out_of_memory_ops, "out_of_memory", out_of_memory_address);
	if (error) {
		undo(&oom_badness_ops, "oom_badness");
		return error;
	}
	pr_info("asks BPF programs attached to bpf_oom_score, ABI %lu\n", abi);
	return 0;
}

static void __exit oom_policy_exit(void)
{
	undo(&out_of_memory_ops, "out_of_memory");
	wait_until_left();
	undo(&oom_badness_ops, "oom_badness");
}

static int refuse(const char *value, const struct kernel_param *param)
{
	pr_err("%s: for reading only\n", param->name);
	return -EPERM;
}

static const struct kernel_param_ops for_reading = { .set = refuse, .get = param_get_ulong };

module_param_cb(abi, &for_reading, &abi, 0444);
MODULE_PARM_DESC(abi, "version of the encoding of answers (read only)");
module_param_cb(events, &for_reading, &events, 0444);
MODULE_PARM_DESC(events, "OOMs seen since the module was loaded (read only)");
module_param_cb(asked, &for_reading, &asked, 0444);
MODULE_PARM_DESC(asked, "candidates asked about (read only)");
module_param_cb(answered, &for_reading, &answered, 0444);
MODULE_PARM_DESC(answered, "candidates for which a program had an opinion (read only)");

module_init(oom_policy_init);
module_exit(oom_policy_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("A BPF program decides the points of each candidate of an OOM");
MODULE_VERSION("0.1.0");
