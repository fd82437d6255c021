#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/memfd.h>

#include <cstring>
#include <string>

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

// () -> fd
Napi::Value Eventfd(const Napi::CallbackInfo& info) { return Result(info, eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)); }

// (fd): makes a received one fit to be signalled, which must never block; -EINVAL where it is something else
Napi::Value AdoptEventfd(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>();
  static constexpr char kKind[] = "anon_inode:[eventfd]";
  char kind[sizeof kKind + 1];
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  const ssize_t length = readlink(link.c_str(), kind, sizeof kind);
  if (length < 0) return Result(info, -1);
  if (length != sizeof kKind - 1 || memcmp(kind, kKind, sizeof kKind - 1) != 0)
    return Napi::Number::New(info.Env(), -EINVAL);
  const int flags = fcntl(fd, F_GETFL);
  return Result(info, flags < 0 ? flags : fcntl(fd, F_SETFL, flags | O_NONBLOCK));
}

// (fd)
Napi::Value SignalEventfd(const Napi::CallbackInfo& info) {
  const uint64_t one = 1;
  const ssize_t put = write(info[0].As<Napi::Number>(), &one, sizeof one);
  // EAGAIN: it is signalled 2^64 - 2 times over already.
  return Result(info, put < 0 && errno != EAGAIN ? -1 : 0);
}

// (fd) -> what its counter was
Napi::Value DrainEventfd(const Napi::CallbackInfo& info) {
  uint64_t count = 0;
  const ssize_t got = read(info[0].As<Napi::Number>(), &count, sizeof count);
  if (got < 0 && errno != EAGAIN) return Result(info, -1);
  return Napi::Number::New(info.Env(), static_cast<double>(count));
}

}  // namespace

void Define(Napi::Env env, Napi::Object exports) {
  exports.Set("memfd", Napi::Function::New<Memfd>(env, "memfd"));
  exports.Set("eventfd", Napi::Function::New<Eventfd>(env, "eventfd"));
  exports.Set("adoptEventfd", Napi::Function::New<AdoptEventfd>(env, "adoptEventfd"));
  exports.Set("drainEventfd", Napi::Function::New<DrainEventfd>(env, "drainEventfd"));
  exports.Set("signalEventfd", Napi::Function::New<SignalEventfd>(env, "signalEventfd"));
}

}  // namespace descriptor
