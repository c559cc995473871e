/* A process that holds memory, and a parent that tells how it ended.
 *
 * Belongs here: holding memory in the ways that matter to an OOM, and a ledger kept without the kernel's log.
 * Must not know: which limits are set, who is meant to die.
 *
 * hog LEDGER NAME CGROUP ADJ MIB [WORD...]
 *
 * CGROUP is a folder of a cgroup file system, or "-" to stay. Words:
 *   grow=N  go on to N MiB, 1 MiB every 2 ms, when MIB are held
 *   shmem   hold shared anonymous memory
 *   thread  a thread holds the memory, the thread-group leader exits
 *   twin    a second process shares the address space (CLONE_VM)
 *   vfork   the same by vfork(): the child never calls execve
 *   node=N  MPOL_BIND to node N
 *
 * In LEDGER: `born` has a line of tid, tgid, comm, oom_score_adj, MIB, cgroup, words (tabs between) for every
 * task, `ready` the tgid of each that holds its MIB, `ends` a line "tgid signal|exit NUMBER" for each, in the
 * order of their ends.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t MIB = 1 << 20;
static const int MPOL_BIND_MODE = 2;

static const char *ledger, *name, *cgroup, *adj, *mib;
static char words[256];

static const char *asked(const char *word) { return strstr(words, word); }

/* Append one line to a file by a single write, so that lines of several processes do not mix. */
static void put(const char *folder, const char *file, const char *format, ...)
{
	char path[256], line[512];
	va_list values;

	snprintf(path, sizeof path, "%s/%s", folder, file);
	va_start(values, format);
	int length = vsnprintf(line, sizeof line, format, values);
	va_end(values);
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, line, length) != length) {
		perror(path);
		_exit(2);
	}
	close(fd);
}

static void born(const char *comm)
{
	prctl(PR_SET_NAME, comm);
	put(ledger, "born", "%ld\t%d\t%s\t%s\t%s\t%s\t%s\n", syscall(SYS_gettid), getpid(), comm, adj, mib, cgroup, words);
}

static void hold_one_mib(void)
{
	int kind = asked("shmem") ? MAP_SHARED : MAP_PRIVATE;
	char *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		_exit(3);
	memset(memory, 1, MIB);
}

static int sharer(void *comm)
{
	born(comm);
	while (1)
		pause();
	return 0;
}

static void *hold(void *comm)
{
	static char stack[64 << 10], second[16];
	const char *grow = asked("grow=");
	long held = 0;

	born(comm);
	for (; held < atol(mib); held++)
		hold_one_mib();
	snprintf(second, sizeof second, "%.13s.2", name);
	if (asked("twin"))
		clone(sharer, stack + sizeof stack, CLONE_VM | SIGCHLD, second);
	put(ledger, "ready", "%d\n", getpid());
	if (asked("vfork") && vfork() == 0)
		sharer(second);
	for (; grow && held < atol(grow + strlen("grow=")); held++) {
		hold_one_mib();
		usleep(2000);
	}
	while (1)
		pause();
	return NULL;
}

static void be_a_hog(void)
{
	static char thread_name[16];
	const char *node = asked("node=");
	unsigned long nodes = node ? 1UL << atoi(node + strlen("node=")) : 0;
	pthread_t thread;

	if (strcmp(cgroup, "-"))
		put(cgroup, "cgroup.procs", "%d", getpid());
	put("/proc/self", "oom_score_adj", "%s", adj);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (node)
		syscall(SYS_set_mempolicy, MPOL_BIND_MODE, &nodes, 8 * sizeof nodes);
	if (!asked("thread"))
		hold((void *)name);
	born(name);
	snprintf(thread_name, sizeof thread_name, "%.13s.t", name);
	pthread_create(&thread, NULL, hold, thread_name);
	syscall(SYS_exit, 0); /* the leader alone */
}

int main(int count, char **argument)
{
	int status;
	pid_t pid;

	if (count < 6) {
		fprintf(stderr, "usage: hog LEDGER NAME CGROUP ADJ MIB [WORD...]\n");
		return 1;
	}
	ledger = argument[1], name = argument[2], cgroup = argument[3], adj = argument[4], mib = argument[5];
	for (int i = 6; i < count; i++)
		snprintf(words + strlen(words), sizeof words - strlen(words), "%s%s", i > 6 ? "," : "", argument[i]);
	int own_adj = open("/proc/self/oom_score_adj", O_WRONLY);
	if (write(own_adj, "-1000", 5) < 0) /* refused in some sandboxes; then being small has to do */
		perror("oom_score_adj");
	close(own_adj);
	prctl(PR_SET_NAME, "watch");
	prctl(PR_SET_CHILD_SUBREAPER, 1); /* a twin whose hog has died is told of here, too */
	if (fork() == 0)
		be_a_hog();
	while ((pid = wait(&status)) > 0)
		put(ledger, "ends", "%d %s %d\n", pid, WIFSIGNALED(status) ? "signal" : "exit",
		    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return 0;
}
