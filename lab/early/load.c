/* What uses memory up, each in its own way, and what only wants to be left alone.
 *
 * Belongs here: using memory. Must not know: limits, who is to die, how it is seen.
 *
 * load NAME hold MIB               holds anonymous memory, and goes through all of it every ten seconds
 * load NAME leak MIB_PER_S         takes more and more, and never looks at it again
 * load NAME thrash MIB FILE FILE_MIB COUNT   COUNT processes, each of which goes through its own MIB, writing, and its
 *                                  own FILE_MIB of FILE, reading, round and round: what is needed next is what has not
 *                                  been used for longest, and pages beside each other are not used together
 * load NAME bomb KIB               forks, and so does each child, again and again; each holds KIB
 * load NAME fill PATH MIB_PER_S    writes a file that never ends
 * load NAME many MIB COUNT         COUNT processes, one every 20 ms; each holds MIB, and never looks at it again
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { PAGE = 4096, MIB = 1 << 20, STRIDE = 613 };
static unsigned sum;

static unsigned char *memory_of(size_t bytes)
{
	unsigned char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

static void touch(unsigned char *memory, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += PAGE)
		memory[at]++;
}

/* All of it every ten seconds, in a hundred steps. */
static void hold(size_t bytes)
{
	unsigned char *memory = memory_of(bytes);
	size_t step = bytes / 100 / PAGE * PAGE + PAGE;

	touch(memory, bytes);
	while (1) {
		for (size_t at = 0; at < bytes; at += step) {
			touch(memory + at, bytes - at < step ? bytes - at : step);
			usleep(100000);
		}
	}
}

static void leak(int mib_per_s)
{
	while (1) {
		unsigned char *memory = memory_of(MIB);
		if (memory)
			touch(memory, MIB);
		usleep(1000000 / mib_per_s);
	}
}

static void thrash_once(size_t bytes, const char *path, size_t file_bytes, int number)
{
	unsigned char *memory = memory_of(bytes);
	int file = open(path, O_RDONLY);
	const unsigned char *read = mmap(NULL, file_bytes, PROT_READ, MAP_SHARED, file, number * file_bytes);

	if (read == MAP_FAILED) {
		perror(path);
		exit(1);
	}
	madvise((void *)read, file_bytes, MADV_RANDOM);
	touch(memory, bytes);
	for (size_t page = 0;; page += STRIDE) {
		memory[page % (bytes / PAGE) * PAGE]++;
		sum += read[page % (file_bytes / PAGE) * PAGE];
	}
}

static void bomb(size_t bytes)
{
	touch(memory_of(bytes), bytes);
	while (1) {
		usleep(50000);
		if (fork() == 0)
			touch(memory_of(bytes), bytes);
	}
}

static void fill(const char *path, int mib_per_s)
{
	static char piece[MIB];
	int file = open(path, O_WRONLY | O_CREAT, 0600);

	memset(piece, 1, sizeof piece);
	while (1) {
		if (write(file, piece, sizeof piece) < 0)
			usleep(100000);
		usleep(1000000 / mib_per_s);
	}
}

static void many(size_t bytes, int count)
{
	while (count-- > 0) {
		if (fork() == 0) {
			touch(memory_of(bytes), bytes);
			break;
		}
		usleep(20000);
	}
	while (1)
		pause();
}

int main(int count, char **argument)
{
	const char *what = count > 3 ? argument[2] : "";
	size_t first = count > 3 ? strtoul(argument[3], NULL, 10) : 0;

	if (count > 1)
		prctl(PR_SET_NAME, argument[1]);
	if (strcmp(what, "hold") == 0)
		hold(first * MIB);
	else if (strcmp(what, "leak") == 0)
		leak(first);
	else if (strcmp(what, "bomb") == 0)
		bomb(first << 10);
	else if (strcmp(what, "fill") == 0 && count > 4)
		fill(argument[3], atoi(argument[4]));
	else if (strcmp(what, "many") == 0 && count > 4)
		many(first * MIB, atoi(argument[4]));
	else if (strcmp(what, "thrash") == 0 && count > 6) {
		int number = atoi(argument[6]);
		while (--number > 0 && fork() > 0)
			;
		thrash_once(first * MIB, argument[4], strtoul(argument[5], NULL, 10) * MIB, number);
	}
	fprintf(stderr, "load: see the head of load.c\n");
	return 2;
}
