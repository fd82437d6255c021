/*
 * The yardstick of `loop`: two descriptor rings, one thread, the same steps as driver and model take between them, in
 * C at -O2. The driver writes transmit descriptors and rings the doorbell; the card walks them, counts, filters by
 * destination, copies each frame into the receive ring's buffer and writes the descriptor back; the driver takes the
 * frames, refills the ring and reclaims what was sent.
 *
 *     loop LENGTH SECONDS   prints frames a second
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RING = 512, BUFFER = 2048, BATCH = 64, DD = 1 };

struct descriptor {
	uint64_t address;
	uint32_t command;
	uint32_t status;
};

struct statistics {
	uint32_t packets, total, sizes[6];
	uint64_t octets, total_octets;
};

static struct descriptor tx[RING], rx[RING];
static struct statistics sent, received;
static uint8_t *memory;
static uint32_t tx_head, tx_tail, rx_head, rx_tail;
static const uint8_t station[6] = {2, 0, 0, 0, 0, 2};

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void count(struct statistics *s, uint32_t octets)
{
	s->packets++;
	s->total++;
	s->octets += octets;
	s->total_octets += octets;
	s->sizes[octets <= 64 ? 0 : octets >= 1024 ? 5 : 26 - __builtin_clz(octets)]++;
}

static void receive(const uint8_t *frame, uint32_t length)
{
	if (memcmp(frame, station, 6) != 0 || rx_head == rx_tail)
		return;
	count(&received, length + 4);
	struct descriptor *d = &rx[rx_head];
	memcpy(memory + d->address, frame, length);
	d->command = length;
	d->status = DD;
	rx_head = (rx_head + 1) % RING;
}

static void doorbell(volatile uint32_t *tail)
{
	while (tx_head != *tail) {
		struct descriptor *d = &tx[tx_head];
		count(&sent, d->command + 4);
		receive(memory + d->address, d->command);
		d->status |= DD;
		tx_head = (tx_head + 1) % RING;
	}
}

int main(int argc, char **argv)
{
	uint32_t length = argc > 1 ? atoi(argv[1]) : 60;
	double seconds = argc > 2 ? atof(argv[2]) : 1, start, elapsed;
	uint64_t frames = 0;
	uint32_t clean = 0, next = 0;

	memory = calloc(2 * RING, BUFFER);
	for (uint32_t i = 0; i < RING; i++) {
		memcpy(memory + i * BUFFER, station, 6);
		tx[i].address = i * BUFFER;
		rx[i].address = (RING + i) * BUFFER;
	}
	rx_tail = RING - 1;
	start = now();
	do {
		for (int round = 0; round < 1000; round++) {
			for (int i = 0; i < BATCH; i++) {
				tx[tx_tail].command = length;
				tx[tx_tail].status = 0;
				tx_tail = (tx_tail + 1) % RING;
			}
			doorbell(&tx_tail);
			while (rx[next].status & DD) {
				frames += rx[next].command == length;
				rx[next].status = 0;
				next = (next + 1) % RING;
			}
			rx_tail = (next + RING - 1) % RING;
			while (clean != tx_tail && tx[clean].status & DD)
				clean = (clean + 1) % RING;
		}
		elapsed = now() - start;
	} while (elapsed < seconds);
	printf("%.0f\n", frames / elapsed);
	return 0;
}
