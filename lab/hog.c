/* A process that holds memory, and a parent that tells how it ended.
 *
 * Belongs here: holding memory in the ways that matter to an OOM, and a ledger kept without the kernel's log.
 * Must not know: which limits are set, who is meant to die.
 *
 * hog LEDGER NAME CGROUP ADJ SIZE [WORD...]
 *
 * LEDGER is a folder; "-" writes the ledger's lines to stdout, after the file's name and a tab, and leaves out the
 * parent: who starts it waits itself. CGROUP is a folder of a cgroup file system, or "-" to stay. SIZE is in MiB, or
 * with a K behind it in KiB. Words:
 *   grow=N     go on to N MiB, 1 MiB every 2 ms, when SIZE is held
 *   told       for every byte on stdin hold 1 MiB more, and put a line into `held`
 *   forks      for every byte on stdin have a child that holds SIZE; the hog itself holds nothing
 *   shmem      hold shared anonymous memory
 *   mlock      lock what is held
 *   pageout    push what is held out to swap, once it is held
 *   threads=N  N threads besides the leader; the last of them holds the memory
 *   thread     a thread holds the memory, the thread-group leader exits
 *   twin       a second process shares the address space (CLONE_VM)
 *   vfork      the same by vfork(): the child never calls execve
 *   node=N     MPOL_BIND to node N
 *   uid=N      run as that user
 *
 * In LEDGER: `born` has a line of tid, tgid, comm, oom_score_adj, SIZE, cgroup, words (tabs between) for every
 * task, `ready` the tgid of each that holds its SIZE, `ends` a line "tgid signal|exit NUMBER" for each, in the
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
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static const long STEP_KIB = 1024;
enum { MPOL_BIND_MODE = 2, MAX_PIECES = 1 << 16 };

static const char *ledger, *name, *cgroup, *adj, *size;
static char words[256];
static struct piece { char *memory; size_t bytes; } pieces[MAX_PIECES];
static long piece_count, held_kib;

/* What follows a word ("grow=", up to the end of all words), or an empty text for a word without "="; else NULL. */
static const char *asked(const char *word)
{
	size_t length = strlen(word);

	for (const char *here = words; here; here = strchr(here, ','), here += here != NULL) {
		if (strncmp(here, word, length) == 0 && (word[length - 1] == '=' || strchr(",", here[length])))
			return here + length;
	}
	return NULL;
}

static long kib(const char *text)
{
	char *end;
	long number = strtol(text, &end, 10);

	return *end == 'K' ? number : number * STEP_KIB;
}

/* Append one line to a file by a single write, so that lines of several processes do not mix. */
static void put(const char *folder, const char *file, const char *format, ...)
{
	char path[256], line[512];
	int length, to_stdout = strcmp(folder, "-") == 0;
	va_list values;

	length = to_stdout ? snprintf(line, sizeof line, "%s\t", file) : 0;
	va_start(values, format);
	length += vsnprintf(line + length, sizeof line - length, format, values);
	va_end(values);
	snprintf(path, sizeof path, "%s/%s", folder, file);
	int fd = to_stdout ? STDOUT_FILENO : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, line, length) != length) {
		perror(path);
		_exit(2);
	}
	if (!to_stdout)
		close(fd);
}

static void born(const char *comm)
{
	prctl(PR_SET_NAME, comm);
	put(ledger, "born", "%ld\t%d\t%s\t%s\t%s\t%s\t%s\n", syscall(SYS_gettid), getpid(), comm, adj, size, cgroup, words);
}

static void hold_more(long more_kib)
{
	int kind = asked("shmem") ? MAP_SHARED : MAP_PRIVATE;
	size_t bytes = more_kib << 10;
	char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || piece_count == MAX_PIECES || (asked("mlock") && mlock(memory, bytes)))
		_exit(3);
	memset(memory, 1, bytes);
	pieces[piece_count++] = (struct piece){ memory, bytes };
	held_kib += more_kib;
}

static void hold_up_to(long wanted_kib)
{
	while (held_kib < wanted_kib)
		hold_more(wanted_kib - held_kib < STEP_KIB ? wanted_kib - held_kib : STEP_KIB);
}

/* Twice: what was touched a moment ago waits in a list of its processor's, where the first try does not find it. */
static void page_out(void)
{
	for (int tries = 0; tries < 2; tries++) {
		for (long number = 0; number < piece_count; number++)
			madvise(pieces[number].memory, pieces[number].bytes, MADV_PAGEOUT);
		usleep(20000);
	}
}

static int sharer(void *comm)
{
	born(comm);
	while (1)
		pause();
	return 0;
}

/* A child of the hog's own parent, so that whoever waits for the hog waits for it too. */
static void have_a_child(void)
{
	if (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0) != 0)
		return;
	close(STDIN_FILENO);
	born(name);
	hold_up_to(kib(size));
	put(ledger, "ready", "%d\n", getpid());
	while (1)
		pause();
}

/* One thing more for every byte, until nobody tells any more. */
static void do_as_told(void)
{
	char byte;

	while (read(STDIN_FILENO, &byte, 1) == 1) {
		if (asked("forks")) {
			have_a_child();
		} else {
			hold_more(STEP_KIB);
			put(ledger, "held", "%ld\n", held_kib);
		}
	}
}

static void *hold(void *comm)
{
	static char stack[64 << 10], second[16];
	const char *grow = asked("grow=");

	born(comm);
	if (!asked("forks"))
		hold_up_to(kib(size));
	if (asked("pageout"))
		page_out();
	snprintf(second, sizeof second, "%.13s.2", name);
	if (asked("twin"))
		clone(sharer, stack + sizeof stack, CLONE_VM | SIGCHLD, second);
	put(ledger, "ready", "%d\n", getpid());
	if (asked("vfork") && vfork() == 0)
		sharer(second);
	while (grow && held_kib < kib(grow)) {
		hold_up_to(held_kib + STEP_KIB);
		usleep(2000);
	}
	if (asked("told") || asked("forks"))
		do_as_told();
	while (1)
		pause();
	return NULL;
}

static void *sleep_on(void *unused)
{
	while (1)
		pause();
	return unused;
}

/* The rights that root has by itself and that a workload of another user is to keep. */
static void become_user(uid_t uid)
{
	struct rlimit no_limit = { RLIM_INFINITY, RLIM_INFINITY };

	setrlimit(RLIMIT_MEMLOCK, &no_limit);
	if (setresuid(uid, uid, uid)) {
		perror("setresuid");
		_exit(2);
	}
}

static void be_a_hog(void)
{
	static char thread_name[16];
	const char *node = asked("node="), *uid = asked("uid="), *threads = asked("threads=");
	unsigned long nodes = node ? 1UL << atoi(node) : 0;
	pthread_t thread;

	prctl(PR_SET_NAME, name); /* threads are born with it */
	if (strcmp(cgroup, "-"))
		put(cgroup, "cgroup.procs", "%d", getpid());
	put("/proc/self", "oom_score_adj", "%s", adj);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	if (node)
		syscall(SYS_set_mempolicy, MPOL_BIND_MODE, &nodes, 8 * sizeof nodes);
	if (uid)
		become_user(atoi(uid));
	for (int idle = threads ? atoi(threads) : 0; idle > 1; idle--)
		pthread_create(&thread, NULL, sleep_on, NULL);
	if (!asked("thread") && !threads)
		hold((void *)name);
	born(name);
	snprintf(thread_name, sizeof thread_name, "%.13s.t", name);
	pthread_create(&thread, NULL, hold, thread_name);
	if (!asked("thread"))
		sleep_on(NULL);
	syscall(SYS_exit, 0); /* the leader alone */
}

int main(int count, char **argument)
{
	int status;
	pid_t pid;

	if (count < 6) {
		fprintf(stderr, "usage: hog LEDGER NAME CGROUP ADJ SIZE [WORD...]\n");
		return 1;
	}
	ledger = argument[1], name = argument[2], cgroup = argument[3], adj = argument[4], size = argument[5];
	for (int i = 6; i < count; i++)
		snprintf(words + strlen(words), sizeof words - strlen(words), "%s%s", i > 6 ? "," : "", argument[i]);
	if (strcmp(ledger, "-") == 0)
		be_a_hog();
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
