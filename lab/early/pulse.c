/* What a person at the machine feels: a process that wakes every 20 ms, does a little, and notes when it came late.
 *
 * Belongs here: the beat and the note of it. Must not know: why it came late, who dies meanwhile.
 *
 * pulse NOTES still          only wakes; locked in memory and with priority, so that it tells what the machine around
 *                            the guest is to blame for
 * pulse NOTES beat PROGRAMS  touches a little anonymous memory and a few pages of the file PROGRAMS; once a second, as
 *                            when somebody opens a menu or gives a command, it goes through RUN_BYTES of each that are
 *                            anywhere, and runs a program and waits for it
 *
 * NOTES is a file of the size of a struct notes, or larger, mapped, so that noting waits for nothing. It should be on ramfs.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EVERY_MS = 20, LATE_MS = 100, RUNS_EVERY = 50, TOUCHES = 8, MOST = 4000 };
enum { ANON_BYTES = 24 << 20, RUN_BYTES = 512 << 10, WARM_BYTES = 4 << 20, PAGE = 4096 };

/* Read by lab/early/seen.py. Each late beat: when it ended, on the monotonic clock, and how late that was. */
static struct notes {
	uint64_t beats, longest_ms, failed_forks, count;
	struct { uint32_t ended_ms, late_ms; } late[MOST];
} *notes;
static unsigned sum;

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

static void *map(const char *path, int flags, size_t *bytes)
{
	struct stat status;
	int file = open(path, flags);

	if (file < 0 || fstat(file, &status)) {
		perror(path);
		exit(1);
	}
	*bytes = status.st_size;
	void *memory = mmap(NULL, *bytes, flags == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, file, 0);
	close(file);
	if (memory == MAP_FAILED) {
		perror(path);
		exit(1);
	}
	return memory;
}

/* The start of a page. */
static size_t anywhere(size_t bytes)
{
	return (size_t)random() % (bytes / PAGE) * PAGE;
}

static void run_a_program(void)
{
	pid_t pid = vfork();

	if (pid == 0) {
		execl("/bin/busybox", "true", (char *)NULL);
		_exit(1);
	}
	if (pid < 0)
		notes->failed_forks++;
	else
		waitpid(pid, NULL, 0);
}

static void note(int64_t late_ms)
{
	notes->beats++;
	if (late_ms > (int64_t)notes->longest_ms)
		notes->longest_ms = late_ms;
	if (late_ms >= LATE_MS && notes->count < MOST) {
		notes->late[notes->count].ended_ms = now_ms();
		notes->late[notes->count].late_ms = late_ms;
		notes->count++;
	}
}

int main(int count, char **argument)
{
	struct sched_param first = { .sched_priority = 60 };
	const unsigned char *programs = NULL;
	unsigned char *anon = NULL;
	size_t bytes, programs_bytes = 0;

	if (count < 3)
		return 2;
	notes = map(argument[1], O_RDWR, &bytes);
	if (bytes < sizeof *notes)
		return 2;
	memset(notes, 0, sizeof *notes);
	if (strcmp(argument[2], "still") == 0) {
		sched_setscheduler(0, SCHED_FIFO, &first);
		mlockall(MCL_CURRENT | MCL_FUTURE);
	} else {
		prctl(PR_SET_NAME, "shell");
		programs = map(argument[3], O_RDONLY, &programs_bytes);
		anon = mmap(NULL, ANON_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		memset(anon, 1, ANON_BYTES);
	}
	for (unsigned beat = 0;; beat++) {
		int64_t due_ms = now_ms() + EVERY_MS;
		usleep(EVERY_MS * 1000);
		for (int touch = 0; anon && touch < TOUCHES; touch++) {
			anon[anywhere(WARM_BYTES)] = beat;
			sum += programs[anywhere(WARM_BYTES)];
		}
		if (anon && beat % RUNS_EVERY == 0) {
			unsigned char *run = anon + anywhere(ANON_BYTES - RUN_BYTES);
			const unsigned char *code = programs + anywhere(programs_bytes - RUN_BYTES);

			for (size_t at = 0; at < RUN_BYTES; at += PAGE) {
				run[at] = beat;
				sum += code[at];
			}
			run_a_program();
		}
		note(now_ms() - due_ms);
	}
}
