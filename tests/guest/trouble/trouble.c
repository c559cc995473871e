// SPDX-License-Identifier: GPL-2.0
/*
 * Trouble of one's choice, as a kernel itself reports it: the lab has to notice. For a guest that nobody needs.
 * echo KIND > /sys/module/trouble/parameters/make; it stays loaded, with the threads that are stuck in it.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/list.h>
#include <linux/module.h>
#include <linux/refcount.h>
#include <linux/sched.h>
#include <linux/string.h>

static char what[16];

static refcount_t count = REFCOUNT_INIT(0);
static LIST_HEAD(list);

static void spin(unsigned int seconds)
{
	preempt_disable();
	while (seconds--)
		mdelay(1000);
	preempt_enable();
}

static int in_thread(void *unused)
{
	struct list_head astray = { &astray, &list };

	if (!strcmp(what, "warning")) {
		WARN_ON(1);
	} else if (!strcmp(what, "bug")) {
		BUG();
	} else if (!strcmp(what, "null")) {
		WRITE_ONCE(*(int *)8, 1);
	} else if (!strcmp(what, "astray")) {
		WRITE_ONCE(*(int *)0xdead000000000100UL, 1);
	} else if (!strcmp(what, "atomic")) {
		preempt_disable();
		schedule();
		preempt_enable();
	} else if (!strcmp(what, "refcount")) {
		refcount_inc(&count);
	} else if (!strcmp(what, "list")) {
		list_del(&astray);
	} else if (!strcmp(what, "stall")) {
		rcu_read_lock();
		/* RCU's word at 3 s touches the lockup detector, which then needs its 2 to 3 s anew. */
		spin(10);
		rcu_read_unlock();
	} else if (!strcmp(what, "hung")) {
		/* Not schedule_timeout(): who waits with a time limit is not hung. */
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule();
	}
	return 0;
}

static int make(const char *asked, const struct kernel_param *param)
{
	strscpy(what, asked, sizeof(what));
	strim(what);
	return PTR_ERR_OR_ZERO(kthread_run(in_thread, NULL, "trouble"));
}

static const struct kernel_param_ops ops = { .set = make };
module_param_cb(make, &ops, NULL, 0200);
MODULE_DESCRIPTION("Trouble of one's choice, for a guest that nobody needs");
MODULE_LICENSE("GPL");
