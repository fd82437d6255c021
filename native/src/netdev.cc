#include "netdev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_tun.h>

#include <cstring>

namespace netdev {

namespace {

class Control {
 public:
  Control() : fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {}
  ~Control() {
    if (fd_ >= 0) close(fd_);
  }
  int Ioctl(unsigned long request, ifreq* ask) const {
    return fd_ < 0 || ioctl(fd_, request, ask) < 0 ? -errno : 0;
  }
  // Fills in the TAP's name, if its interface is in this namespace.
  int Find(int tun, int index, ifreq* ask) const {
    memset(ask, 0, sizeof *ask);
    if (ioctl(tun, TUNGETIFF, ask) < 0) return -errno;
    const int failed = Ioctl(SIOCGIFINDEX, ask);
    if (failed) return failed;
    return ask->ifr_ifindex == index ? 0 : -ENODEV;
  }

 private:
  int fd_;
};

void SetAddress(ifreq* ask, uint32_t address) {
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(address);
  memcpy(&ask->ifr_addr, &to, sizeof to);
}

}  // namespace

int Index(const char* name) {
  Control control;
  ifreq ask = {};
  strncpy(ask.ifr_name, name, IFNAMSIZ - 1);
  const int failed = control.Ioctl(SIOCGIFINDEX, &ask);
  return failed ? failed : ask.ifr_ifindex;
}

int Up(int tun, int index, bool up) {
  Control control;
  ifreq ask;
  int failed = control.Find(tun, index, &ask);
  if (!failed) failed = control.Ioctl(SIOCGIFFLAGS, &ask);
  if (failed) return failed;
  ask.ifr_flags = static_cast<short>(up ? ask.ifr_flags | IFF_UP : ask.ifr_flags & ~IFF_UP);
  return control.Ioctl(SIOCSIFFLAGS, &ask);
}

int Mtu(int tun, int index, int mtu) {
  Control control;
  ifreq ask;
  const int failed = control.Find(tun, index, &ask);
  if (failed) return failed;
  ask.ifr_mtu = mtu;
  return control.Ioctl(SIOCSIFMTU, &ask);
}

int Address(int tun, int index, uint32_t address, int prefix) {
  Control control;
  ifreq ask;
  int failed = control.Find(tun, index, &ask);
  if (failed) return failed;
  SetAddress(&ask, address);
  failed = control.Ioctl(SIOCSIFADDR, &ask);
  if (failed) return failed;
  SetAddress(&ask, prefix == 0 ? 0 : ~uint32_t{0} << (32 - prefix));
  return control.Ioctl(SIOCSIFNETMASK, &ask);
}

}  // namespace netdev
