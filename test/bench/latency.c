/*
 * The yardstick of `latency`: 100,000 times a second a 60-byte frame is due; it goes through a ring's worth of memory to
 * its receiver, and the time from when it was due until it is there is recorded. One thread that polls the clock, so that
 * what is measured is what the machine takes away from it.
 *
 *     latency SECONDS   prints p50, p99, p99.99 and max in nanoseconds
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { RING = 512, BUFFER = 2048, LENGTH = 60, PERIOD = 10000 };

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int ascending(const void *a, const void *b)
{
	int64_t difference = *(const int64_t *)a - *(const int64_t *)b;
	return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 1;
	int64_t frames = seconds * 1e9 / PERIOD, *took = malloc(frames * sizeof *took);
	volatile uint8_t *sent = calloc(RING, BUFFER), *received = calloc(RING, BUFFER);
	int64_t start = now();

	for (int64_t i = 0; i < frames; i++) {
		int64_t due = start + i * PERIOD;
		size_t slot = i % RING * BUFFER;

		while (now() < due)
			;
		sent[slot] = (uint8_t)i;
		memcpy((void *)(received + slot), (const void *)(sent + slot), LENGTH);
		took[i] = now() - due;
	}
	qsort(took, frames, sizeof *took, ascending);
	printf("%ld %ld %ld %ld\n", (long)took[frames / 2], (long)took[frames * 99 / 100],
	       (long)took[(int64_t)(frames * 0.9999)], (long)took[frames - 1]);
	return 0;
}
