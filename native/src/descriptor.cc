#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/aio_abi.h>
#include <linux/memfd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <string>

#include "checked.h"
#include "release.h"

namespace descriptor {

namespace {

Napi::Value Result(const Napi::CallbackInfo& info, int result) {
  return Napi::Number::New(info.Env(), result < 0 ? -errno : result);
}

// (name, bytes, whether of huge pages) -> fd
Napi::Value Memfd(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  const unsigned huge = info[2].As<Napi::Boolean>() ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
  const int fd = memfd_create(name.c_str(), MFD_CLOEXEC | huge);
  if (fd < 0) return Result(info, fd);
  if (ftruncate(fd, info[1].As<Napi::Number>().Int64Value()) < 0) {
    const int failed = errno;
    close(fd);
    return Napi::Number::New(info.Env(), -failed);
  }
  return Result(info, fd);
}

// ---- Files that somebody else sent. Their file system may be somebody's too (FUSE, a network), who is not to be asked.

// The file system's name, as it is mounted here; empty where it is not.
std::string FileSystem(int fd) {
  std::ifstream about("/proc/self/fdinfo/" + std::to_string(fd));
  std::ifstream mounts("/proc/self/mountinfo");
  std::string id, line;
  while (std::getline(about, line))
    if (line.rfind("mnt_id:", 0) == 0) id = line.substr(line.find_first_not_of(" \t", 7)) + ' ';
  while (!id.empty() && std::getline(mounts, line)) {
    if (line.rfind(id, 0) != 0) continue;
    const size_t name = line.find(" - ") + 3;  // proc(5), mountinfo
    return line.substr(name, line.find(' ', name) - name);
  }
  return {};
}

// Where a page of a mapped file is had at once, or from a disk at worst. Elsewhere a fault waits for somebody, who may be
// the one that passed the file; an overlay may be one of those. Only memory has seals (fcntl(2), F_GET_SEALS).
bool IsAtHand(int fd) {
  if (fcntl(fd, F_GET_SEALS) >= 0) return true;
  const std::string name = FileSystem(fd);
  for (const char* local : {"ramfs", "ext2", "ext3", "ext4", "btrfs", "f2fs", "xfs", "zfs"})
    if (name == local) return true;
  return false;
}

// (fd, Float64Array of device, inode, bytes, access mode) -> -ENODEV where it is no file whose memory is at hand
Napi::Value MemoryFile(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>();
  auto into = info[1].As<Napi::Float64Array>();
  if (!Inside(info.Env(), 0, 4, into.ElementLength())) return {};
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return Result(info, -1);
  if (!IsAtHand(fd)) return Napi::Number::New(info.Env(), -ENODEV);
  struct stat about;
  if (fstat(fd, &about) < 0) return Result(info, -1);
  if (!S_ISREG(about.st_mode)) return Napi::Number::New(info.Env(), -ENODEV);
  into[0] = static_cast<double>(about.st_dev);
  into[1] = static_cast<double>(about.st_ino);
  into[2] = static_cast<double>(about.st_size);
  into[3] = flags & O_ACCMODE;
  return Result(info, 0);
}

// (fd)
Napi::Value CloseReceived(const Napi::CallbackInfo& info) {
  release::Close(info[0].As<Napi::Number>());
  return Napi::Number::New(info.Env(), 0);
}

// (path) -> fd of a folder whose lock (flock(2)) is had until it is closed; -EWOULDBLOCK where another has it
Napi::Value LockFolder(const Napi::CallbackInfo& info) {
  const std::string path = info[0].As<Napi::String>();
  const int fd = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0) return Result(info, fd);
  const int failed = errno;
  close(fd);
  return Napi::Number::New(info.Env(), -failed);
}

// ---- Eventfds. O_NONBLOCK is the open file's (open(2)): whoever shares one may clear it at any moment, so that neither a
// ---- read nor a write that relies on it is safe.

// () -> fd
Napi::Value Eventfd(const Napi::CallbackInfo& info) { return Result(info, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

// (fd) -> 1 where it is one
Napi::Value IsEventfd(const Napi::CallbackInfo& info) {
  static constexpr char kKind[] = "anon_inode:[eventfd]";
  char kind[sizeof kKind + 1];
  const std::string link = "/proc/self/fd/" + std::to_string(info[0].As<Napi::Number>().Int32Value());
  const ssize_t length = readlink(link.c_str(), kind, sizeof kind);
  if (length < 0) return Result(info, -1);
  return Napi::Number::New(info.Env(), length == sizeof kKind - 1 && memcmp(kind, kKind, sizeof kKind - 1) == 0);
}

// The kernel signals an eventfd at the end of an asynchronous read without ever waiting, and a full counter stays full:
// io_submit(2) with IOCB_FLAG_RESFD. The read is of nothing, and ends at once. (An eventfd's write takes no RWF_NOWAIT.)
class Bell {
 public:
  // 0 or -errno
  int Ring(int eventfd) {
    if (failed_ != 0) return -failed_;
    iocb read = {};
    read.aio_lio_opcode = IOCB_CMD_PREAD;
    read.aio_fildes = static_cast<uint32_t>(nothing_);
    read.aio_flags = IOCB_FLAG_RESFD;
    read.aio_resfd = static_cast<uint32_t>(eventfd);
    iocb* const list[] = {&read};
    while (syscall(SYS_io_submit, context_, 1, list) < 0) {
      if (errno == EAGAIN) Reap();
      else if (errno != EINTR) return -errno;
    }
    return 0;
  }

  static Bell& Get() {
    static Bell* const bell = new Bell;  // never destroyed: workers may outlive the main thread's statics
    return *bell;
  }

 private:
  static constexpr int kReads = 128;  // that have ended and were not reaped

  Bell() : nothing_(open("/dev/null", O_RDONLY | O_CLOEXEC)) {
    if (nothing_ < 0 || syscall(SYS_io_setup, kReads, &context_) < 0) failed_ = errno;
  }

  void Reap() {
    io_event ended[kReads];
    timespec at_once = {};
    syscall(SYS_io_getevents, context_, 1, kReads, ended, &at_once);
  }

  const int nothing_;
  aio_context_t context_ = 0;
  int failed_ = 0;
};

// (fd)
Napi::Value SignalEventfd(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), Bell::Get().Ring(info[0].As<Napi::Number>()));
}

// (fd) -> what its counter was
Napi::Value DrainEventfd(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>();
  uint64_t count = 0;
  const iovec whole = {&count, sizeof count};
  ssize_t got = preadv2(fd, &whole, 1, -1, RWF_NOWAIT);
  if (got < 0 && errno == EOPNOTSUPP) got = read(fd, &count, sizeof count);  // before Linux 5.8
  if (got < 0 && errno != EAGAIN) return Result(info, -1);
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

// (fd) -> a descriptor that can be read once for all that was written to it since, whatever is read of it, and by whom:
// epoll(7), edge-triggered
Napi::Value Edges(const Napi::CallbackInfo& info) {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) return Result(info, -1);
  epoll_event wanted = {};
  wanted.events = EPOLLIN | EPOLLET;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, info[0].As<Napi::Number>(), &wanted) == 0) return Result(info, epoll);
  const int failed = errno;
  close(epoll);
  return Napi::Number::New(info.Env(), -failed);
}

// (such a descriptor) -> whether there was one
Napi::Value TakeEdge(const Napi::CallbackInfo& info) {
  epoll_event found;
  return Result(info, epoll_wait(info[0].As<Napi::Number>(), &found, 1, 0));
}

// (fds, count, milliseconds) -> the first of them that can be read, or has failed; count where none can by then
Napi::Value AwaitReadable(const Napi::CallbackInfo& info) {
  constexpr size_t kMost = 64;
  Napi::Int32Array array = info[0].As<Napi::Int32Array>();
  const int64_t wanted = info[1].As<Napi::Number>();
  if (!Inside(info.Env(), 0, wanted, std::min(array.ElementLength(), kMost))) return {};
  const int32_t* const fds = array.Data();
  const size_t count = static_cast<size_t>(wanted);
  pollfd polled[kMost];
  for (size_t i = 0; i < count; i++) polled[i] = {fds[i], POLLIN, 0};
  const int found = poll(polled, count, info[2].As<Napi::Number>());
  if (found < 0 && errno != EINTR) return Result(info, found);
  for (size_t i = 0; i < count; i++)
    if (found > 0 && polled[i].revents != 0) return Napi::Number::New(info.Env(), static_cast<double>(i));
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

}  // namespace

void Define(Napi::Env, Napi::Object exports) {
  Bell::Get();
  Offer<Memfd, kText, kNumber, kFlag>(exports, "memfd");
  Offer<MemoryFile, kNumber, kDoubles>(exports, "memoryFile");
  Offer<CloseReceived, kNumber>(exports, "closeReceived");
  Offer<LockFolder, kText>(exports, "lockFolder");
  Offer<Eventfd>(exports, "eventfd");
  Offer<IsEventfd, kNumber>(exports, "isEventfd");
  Offer<SignalEventfd, kNumber>(exports, "signalEventfd");
  Offer<DrainEventfd, kNumber>(exports, "drainEventfd");
  Offer<Edges, kNumber>(exports, "edges");
  Offer<TakeEdge, kNumber>(exports, "takeEdge");
  Offer<AwaitReadable, kInts, kNumber, kNumber>(exports, "awaitReadable");
}

}  // namespace descriptor
