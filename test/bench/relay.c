/*
 * The yardstick: frames from one TAP interface to another and back, as plainly and as fast as C does it with one thread
 * and poll(2). What the TypeScript host costs is measured against this, on the same machine, in the same minute.
 *
 *   relay [--gso] TAP_A TAP_B
 *
 * Makes (or attaches to) both, prints "ready" and relays until SIGTERM or SIGINT. With --gso the interfaces hand over
 * segments of up to 64 KiB without checksums, and the virtio-net header that describes them is passed through.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_tun.h>

enum { BATCH = 256, LARGEST = 65536 + 10 + 18 }; /* a GSO frame, its header, Ethernet with a VLAN tag */

static volatile sig_atomic_t ended;

static void on_signal(int signal) {
  (void)signal;
  ended = 1;
}

static int fail(const char *what, const char *name) {
  fprintf(stderr, "relay: %s %s: %s\n", what, name, strerror(errno));
  return -1;
}

static int open_tap(const char *name, int gso) {
  struct ifreq ask = {0};
  int header = 10;
  int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return fail("open /dev/net/tun for", name);
  snprintf(ask.ifr_name, sizeof ask.ifr_name, "%s", name);
  ask.ifr_flags = IFF_TAP | IFF_NO_PI | (gso ? IFF_VNET_HDR : 0);
  if (ioctl(fd, TUNSETIFF, &ask) < 0) return fail("TUNSETIFF", name);
  if (!gso) return fd;
  if (ioctl(fd, TUNSETVNETHDRSZ, &header) < 0) return fail("TUNSETVNETHDRSZ", name);
  if (ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6) < 0) return fail("TUNSETOFFLOAD", name);
  return fd;
}

/* At most a batch, so that neither direction starves the other. A frame that the far side refuses is lost. */
static void relay(int from, int to) {
  static char frame[LARGEST];
  for (int i = 0; i < BATCH; i++) {
    ssize_t length = read(from, frame, sizeof frame);
    if (length < 0) return;
    if (write(to, frame, (size_t)length) < 0) continue;
  }
}

int main(int argc, char **argv) {
  const int gso = argc > 1 && strcmp(argv[1], "--gso") == 0;
  if (argc - gso != 3) {
    fprintf(stderr, "usage: relay [--gso] TAP_A TAP_B\n");
    return 2;
  }
  const int a = open_tap(argv[1 + gso], gso);
  const int b = a < 0 ? -1 : open_tap(argv[2 + gso], gso);
  if (b < 0) return 1;

  /* The signals come through only while ppoll waits, so that none slips in between the question and the wait. */
  struct sigaction action = {.sa_handler = on_signal};
  sigset_t ends_us, all_through;
  sigemptyset(&all_through);
  sigemptyset(&ends_us);
  sigaddset(&ends_us, SIGTERM);
  sigaddset(&ends_us, SIGINT);
  sigprocmask(SIG_BLOCK, &ends_us, NULL);
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGINT, &action, NULL);
  puts("ready");
  fflush(stdout);

  struct pollfd ends[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
  while (!ended) {
    if (ppoll(ends, 2, NULL, &all_through) < 0) continue;
    if ((ends[0].revents | ends[1].revents) & POLLERR) {
      fprintf(stderr, "relay: an interface was deleted\n");
      return 1;
    }
    if (ends[0].revents & POLLIN) relay(a, b);
    if (ends[1].revents & POLLIN) relay(b, a);
  }
  return 0;
}
