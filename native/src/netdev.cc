#include "netdev.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/if.h>
#include <linux/if_tun.h>

#include <cstring>

namespace netdev {

namespace {

class Descriptor {
 public:
  // -errno is none.
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  operator int() const { return fd_; }

 private:
  int fd_;
};

int Open(int family, int type, int protocol) {
  const int fd = socket(family, type | SOCK_CLOEXEC, protocol);
  return fd < 0 ? -errno : fd;
}

// A descriptor of the namespace; -EINVAL where the kernel is too old to tell.
int OpenNamespace(int tun) {
  const int fd = ioctl(tun, TUNGETDEVNETNS);
  return fd < 0 ? -errno : fd;
}

bool IsOurs(int space) {
  struct stat there, here;
  return fstat(space, &there) == 0 && stat("/proc/thread-self/ns/net", &here) == 0 && there.st_dev == here.st_dev &&
         there.st_ino == here.st_ino;
}

struct Visit {
  int space, family, type, protocol, result;
};

void* Enter(void* argument) {
  Visit* visit = static_cast<Visit*>(argument);
  const bool there = setns(visit->space, CLONE_NEWNET) == 0;
  visit->result = there ? Open(visit->family, visit->type, visit->protocol) : -errno;
  return nullptr;
}

int Ioctl(int control, unsigned long request, ifreq* ask) { return ioctl(control, request, ask) < 0 ? -errno : 0; }

// A socket for ioctls, and the name they are to be made with. The name is asked for each time: somebody may change it.
class Control {
 public:
  explicit Control(int tun) : fd_(Socket(tun, AF_INET, SOCK_DGRAM, 0)) {
    memset(&ask_, 0, sizeof ask_);
    failed_ = fd_ < 0 ? static_cast<int>(fd_) : Ioctl(tun, TUNGETIFF, &ask_);
  }
  // The request with what `ask` holds; the first failure stays.
  int Do(unsigned long request) {
    if (!failed_) failed_ = Ioctl(fd_, request, &ask_);
    return failed_;
  }
  ifreq* ask() { return &ask_; }

 private:
  Descriptor fd_;
  ifreq ask_;
  int failed_;
};

void SetAddress(ifreq* ask, uint32_t address) {
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_addr.s_addr = htonl(address);
  memcpy(&ask->ifr_addr, &to, sizeof to);
}

}  // namespace

int Index(const char* name) {
  const Descriptor control(Open(AF_INET, SOCK_DGRAM, 0));
  if (control < 0) return control;
  ifreq ask = {};
  strncpy(ask.ifr_name, name, IFNAMSIZ - 1);
  const int failed = Ioctl(control, SIOCGIFINDEX, &ask);
  return failed ? failed : ask.ifr_ifindex;
}

int64_t Namespace(int tun) {
  const Descriptor space(OpenNamespace(tun));
  if (space < 0) return space == -EINVAL ? 0 : space;
  struct stat about;
  return fstat(space, &about) < 0 ? -errno : static_cast<int64_t>(about.st_ino);
}

int Index(int tun) {
  Control control(tun);
  const int failed = control.Do(SIOCGIFINDEX);
  return failed ? failed : control.ask()->ifr_ifindex;
}

int Socket(int tun, int family, int type, int protocol) {
  const Descriptor space(OpenNamespace(tun));
  if (space == -EINVAL || (space >= 0 && IsOurs(space))) return Open(family, type, protocol);
  if (space < 0) return space;
  // On a thread of its own, which alone enters the namespace, and ends there.
  Visit visit = {space, family, type, protocol, -EAGAIN};
  pthread_t thread;
  const int failed = pthread_create(&thread, nullptr, Enter, &visit);
  if (failed) return -failed;
  pthread_join(thread, nullptr);
  return visit.result;
}

int Up(int tun, bool up) {
  Control control(tun);
  control.Do(SIOCGIFFLAGS);
  ifreq* ask = control.ask();
  ask->ifr_flags = static_cast<short>(up ? ask->ifr_flags | IFF_UP : ask->ifr_flags & ~IFF_UP);
  return control.Do(SIOCSIFFLAGS);
}

int Mtu(int tun, int mtu) {
  Control control(tun);
  control.ask()->ifr_mtu = mtu;
  return control.Do(SIOCSIFMTU);
}

int Address(int tun, uint32_t address, int prefix) {
  Control control(tun);
  SetAddress(control.ask(), address);
  control.Do(SIOCSIFADDR);
  SetAddress(control.ask(), prefix == 0 ? 0 : ~uint32_t{0} << (32 - prefix));
  return control.Do(SIOCSIFNETMASK);
}

}  // namespace netdev
