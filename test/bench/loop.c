/*
 * The yardstick of `loop`: what driver and model do between them with their rings, in C at -O2, in one thread.
 *
 * The driver takes buffers from a pool, writes transmit descriptors and rings the doorbell; the card walks them, finds
 * each buffer in host memory, counts, filters by destination, copies the frame into the receive ring's next buffer,
 * writes both descriptors back; the driver takes the frames, refills the ring from the pool and reclaims what was sent.
 * Descriptors are volatile, as memory is that a device shares. There are no checksums here, and no interrupts.
 *
 *     loop LENGTH SECONDS   prints frames a second
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RING = 512, BUFFER = 2048, BATCH = 64, BUFFERS = 4 * RING, REFILL = 16, DD = 1, RS = 2, ADDRESSES = 16 };
enum { IOVA = 0x100000 };

struct descriptor {
	uint32_t low, high, command, status;
};

struct buffer {
	uint8_t *bytes;
	uint32_t iova, length;
};

struct ring {
	volatile struct descriptor d[RING];
	struct buffer *slot[RING];
	volatile uint32_t head, tail;
	uint32_t next, clean;
};

struct counters {
	uint32_t packets, total, sizes[6], multicast, broadcast;
	uint64_t octets, total_octets;
};

static struct ring tx, rx;
static struct counters sent, received;
static struct { uint8_t address[6]; int valid; } filter[ADDRESSES];
static uint8_t *memory;
static struct buffer buffers[BUFFERS], *pool[BUFFERS];
static uint32_t available;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static uint32_t next(uint32_t index)
{
	return index + 1 == RING ? 0 : index + 1;
}

static void bump(uint32_t *counter)
{
	if (*counter != UINT32_MAX)
		++*counter;
}

static void count(struct counters *c, const uint8_t *frame, uint32_t octets)
{
	bump(&c->packets);
	bump(&c->total);
	bump(&c->sizes[octets <= 64 ? 0 : octets >= 1024 ? 5 : 26 - __builtin_clz(octets)]);
	if (frame[0] & 1)
		bump(frame[0] == 0xff ? &c->broadcast : &c->multicast);
	c->octets += octets;
	c->total_octets += octets;
}

/* Host memory as the card sees it. */
static uint8_t *dma(uint32_t low, uint32_t high, uint32_t length)
{
	uint64_t at = ((uint64_t)high << 32 | low) - IOVA;

	return at + length <= (uint64_t)BUFFERS * BUFFER ? memory + at : NULL;
}

static int wanted(const uint8_t *frame)
{
	for (int i = 0; i < ADDRESSES && filter[i].valid; i++)
		if (memcmp(frame, filter[i].address, 6) == 0)
			return 1;
	return 0;
}

static __attribute__((noinline)) void wire(const uint8_t *frame, uint32_t length)
{
	volatile struct descriptor *d = &rx.d[rx.head];
	uint8_t *to;

	if (length < 60 || length > 1518 || !wanted(frame) || rx.head == rx.tail)
		return;
	count(&received, frame, length + 4);
	to = dma(d->low, d->high, length);
	if (to == NULL)
		return;
	memcpy(to, frame, length);
	d->command = length;
	d->status = DD;
	rx.head = next(rx.head);
}

static __attribute__((noinline)) void doorbell(uint32_t tail)
{
	tx.tail = tail;
	while (tx.head != tx.tail) {
		volatile struct descriptor *d = &tx.d[tx.head];
		uint32_t command = d->command, length = command & 0xffff;
		uint8_t *frame = dma(d->low, d->high, length);

		if (frame != NULL) {
			count(&sent, frame, length + 4);
			wire(frame, length);
		}
		if (command & RS << 24)
			d->status |= DD;
		tx.head = next(tx.head);
	}
}

static void transmit(void)
{
	while (tx.clean != tx.next && (tx.d[tx.clean].status & DD || tx.slot[tx.clean] == NULL)) {
		pool[available++] = tx.slot[tx.clean];
		tx.clean = next(tx.clean);
	}
	for (int i = 0; i < BATCH; i++) {
		volatile struct descriptor *d = &tx.d[tx.next];
		struct buffer *b = pool[--available];

		d->low = b->iova;
		d->high = 0;
		d->command = b->length | RS << 24;
		d->status = 0;
		tx.slot[tx.next] = b;
		tx.next = next(tx.next);
	}
	doorbell(tx.next);
}

static void refill(uint32_t upto)
{
	while (rx.clean != upto) {
		struct buffer *b = pool[--available];

		rx.d[rx.clean].low = b->iova;
		rx.d[rx.clean].high = 0;
		rx.d[rx.clean].status = 0;
		rx.slot[rx.clean] = b;
		rx.clean = next(rx.clean);
	}
	rx.tail = rx.clean;
}

static uint32_t receive(struct buffer **into)
{
	uint32_t taken = 0;

	while (taken < BATCH && rx.d[rx.next].status & DD) {
		struct buffer *b = rx.slot[rx.next];

		b->length = rx.d[rx.next].command & 0xffff;
		rx.d[rx.next].status = 0;
		into[taken++] = b;
		rx.next = next(rx.next);
	}
	if (taken >= REFILL)
		refill((rx.next + RING - 1) % RING);
	return taken;
}

int main(int argc, char **argv)
{
	uint32_t length = argc > 1 ? atoi(argv[1]) : 60;
	double seconds = argc > 2 ? atof(argv[2]) : 1, start, elapsed;
	uint64_t frames = 0;
	struct buffer *batch[BATCH];

	memory = calloc(BUFFERS, BUFFER);
	for (int i = 0; i < BUFFERS; i++) {
		buffers[i] = (struct buffer){memory + i * BUFFER, IOVA + i * BUFFER, length};
		buffers[i].bytes[0] = buffers[i].bytes[5] = 2;
		pool[available++] = &buffers[i];
	}
	memcpy(filter[0].address, "\2\0\0\0\0\2", 6);
	filter[0].valid = 1;
	refill(RING - 1);
	start = now();
	do {
		for (int round = 0; round < 1000; round++) {
			uint32_t taken;

			transmit();
			taken = receive(batch);
			for (uint32_t i = 0; i < taken; i++)
				pool[available++] = batch[i];
			frames += taken;
		}
		elapsed = now() - start;
	} while (elapsed < seconds);
	printf("%.0f\n", frames / elapsed);
	return 0;
}
