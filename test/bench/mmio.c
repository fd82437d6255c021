/*
 * The yardstick of `mmio`, and the client that measures both it and our server, so that only the server differs.
 *
 *     mmio serve PATH                       a blocking vfio-user server: receives a header, then its payload, and replies
 *     mmio measure ROUNDS READS PATH_A PATH_B
 *         reads a register (BAR 0, offset 8) READS times from A, then from B, and so on for ROUNDS rounds, and prints the
 *         median over the rounds of each one's p50 and p99: "A's p50, A's p99, B's p50, B's p99", in nanoseconds
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { VERSION = 1, REGION_READ = 9, REGION_WRITE = 10, REPLY = 1, BAR0 = 0, CONFIG = 7, STATUS = 8, COMMAND = 4 };
enum { WARM_UP = 20000, LARGEST = 4096 };

struct header {
	uint16_t id, command;
	uint32_t size, flags, error;
};

struct access {
	uint64_t offset;
	uint32_t region, count;
};

struct message {
	struct header header;
	union {
		struct {
			struct access access;
			uint32_t value;
		};
		uint8_t payload[LARGEST];
	};
};

static void fail(const char *what)
{
	fprintf(stderr, "mmio: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void receive(int fd, void *into, size_t length)
{
	ssize_t got = recv(fd, into, length, MSG_WAITALL);
	if (got == 0)
		exit(0);
	if (got != (ssize_t)length)
		fail("recv");
}

static void transmit(int fd, const struct message *m)
{
	if (send(fd, m, m->header.size, MSG_NOSIGNAL) != (ssize_t)m->header.size)
		fail("send");
}

static struct sockaddr_un address(const char *path)
{
	struct sockaddr_un it = {.sun_family = AF_UNIX};
	snprintf(it.sun_path, sizeof it.sun_path, "%s", path);
	return it;
}

static void serve(const char *path)
{
	static uint32_t registers[0x20000 / 4];
	struct sockaddr_un at = address(path);
	struct message m;
	int listener = socket(AF_UNIX, SOCK_STREAM, 0), fd;

	if (bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 1) < 0)
		fail(path);
	puts("ready");
	fflush(stdout);
	fd = accept(listener, NULL, NULL);
	for (;;) {
		uint32_t at_register, payload;

		receive(fd, &m.header, sizeof m.header);
		payload = m.header.size - sizeof m.header;
		if (payload > LARGEST)
			fail("too long a message");
		receive(fd, m.payload, payload);
		at_register = m.access.offset % sizeof registers / 4;
		if (m.header.command == REGION_READ) {
			m.value = registers[at_register];
			m.header.size = sizeof m.header + sizeof m.access + 4;
		} else if (m.header.command == REGION_WRITE) {
			if (m.access.region == BAR0)
				registers[at_register] = m.value;
			m.header.size = sizeof m.header + sizeof m.access;
		}
		m.header.flags = REPLY;
		transmit(fd, &m);
	}
}

static uint16_t next_id;

static void ask(int fd, struct message *m, uint16_t command, uint32_t payload)
{
	uint16_t id = next_id++;

	m->header = (struct header){.id = id, .command = command, .size = sizeof m->header + payload};
	transmit(fd, m);
	receive(fd, &m->header, sizeof m->header);
	if (m->header.size > sizeof *m)
		fail("too long a reply");
	receive(fd, m->payload, m->header.size - sizeof m->header);
	if (m->header.id != id || m->header.flags != REPLY) {
		fprintf(stderr, "mmio: command %d was refused: %u\n", command, m->header.error);
		exit(1);
	}
}

static int open_device(const char *path)
{
	struct sockaddr_un at = address(path);
	struct message m = {0};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	if (connect(fd, (struct sockaddr *)&at, sizeof at) < 0)
		fail(path);
	ask(fd, &m, VERSION, 4); /* 0.0, and no capabilities */
	m.access = (struct access){COMMAND, CONFIG, 2};
	m.value = 6; /* memory decoding, bus mastering */
	ask(fd, &m, REGION_WRITE, sizeof m.access + 2);
	return fd;
}

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* One register read as a client does it: a send, and a wait for all of the reply, whose length it knows. */
static int64_t read_register(int fd)
{
	struct message m;
	uint32_t length = sizeof m.header + sizeof m.access;
	int64_t start;

	m.header = (struct header){.id = next_id++, .command = REGION_READ, .size = length};
	m.access = (struct access){STATUS, BAR0, 4};
	start = now();
	transmit(fd, &m);
	receive(fd, &m, length + 4);
	if (m.header.flags != REPLY || m.header.size != length + 4)
		fail("a reply");
	return now() - start;
}

static int ascending(const void *a, const void *b)
{
	int64_t difference = *(const int64_t *)a - *(const int64_t *)b;
	return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		serve(argv[2]);
	if (argc != 6 || strcmp(argv[1], "measure") != 0) {
		fprintf(stderr, "usage: mmio serve PATH | mmio measure ROUNDS READS PATH_A PATH_B\n");
		return 2;
	}
	int rounds = atoi(argv[2]), reads = atoi(argv[3]);
	int devices[2] = {open_device(argv[4]), open_device(argv[5])};
	int64_t *took = malloc(reads * sizeof *took);
	int64_t *points[4];

	for (int i = 0; i < 4; i++)
		points[i] = malloc(rounds * sizeof **points);
	for (int i = 0; i < 2 * WARM_UP; i++)
		read_register(devices[i % 2]);
	for (int round = 0; round < rounds; round++) {
		for (int device = 0; device < 2; device++) {
			for (int i = 0; i < reads; i++)
				took[i] = read_register(devices[device]);
			qsort(took, reads, sizeof *took, ascending);
			points[2 * device][round] = took[reads / 2];
			points[2 * device + 1][round] = took[reads * 99 / 100];
		}
	}
	for (int i = 0; i < 4; i++) {
		qsort(points[i], rounds, sizeof **points, ascending);
		printf("%ld ", (long)points[i][rounds / 2]);
	}
	puts("");
	return 0;
}
