// SPDX-License-Identifier: GPL-2.0
/* A live patch of oom_badness(), as a vendor may ship one: the module must not load over it, nor it over the module. */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/oom.h>

static long patched_oom_badness(struct task_struct *p, unsigned long totalpages)
{
	return LONG_MIN;
}

static struct klp_func functions[] = {
	{ .old_name = "oom_badness", .new_func = patched_oom_badness },
	{ }
};
static struct klp_object objects[] = { { .funcs = functions }, { } };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init live_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit live_patch_exit(void)
{
}

module_init(live_patch_init);
module_exit(live_patch_exit);
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
MODULE_DESCRIPTION("A live patch of oom_badness, for a test");
