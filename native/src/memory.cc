#include "memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct Memory::Range {
  void* start;
  size_t length;

  void Unmap() {
    if (start) munmap(start, length);
    start = nullptr;
  }
};

Napi::Function Memory::Define(Napi::Env env) {
  return DefineClass(env, "Memory", {InstanceMethod<&Memory::Map>("map"), InstanceMethod<&Memory::Unmap>("unmap")});
}

Napi::Value Memory::Map(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>();
  const int64_t offset = info[1].As<Napi::Number>();
  const int64_t length = info[2].As<Napi::Number>();
  const bool shared = info[3].As<Napi::Boolean>();
  struct stat about;
  if (fstat(fd, &about) < 0) return Napi::Number::New(env, -errno);
  // Beyond a file's end there is no memory: touching it there is SIGBUS.
  if (S_ISREG(about.st_mode) && (about.st_size < length || about.st_size - length < offset))
    return Napi::Number::New(env, -ENXIO);
  // Not shared: what is written stays here, so that a stray write to read-only memory is not the end of the process.
  const int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | MAP_NORESERVE;
  void* start = mmap(nullptr, static_cast<size_t>(length), PROT_READ | PROT_WRITE, flags, fd, offset);
  if (start == MAP_FAILED) return Napi::Number::New(env, -errno);
  Range* range = new Range{start, static_cast<size_t>(length)};
  napi_value buffer;
  const napi_status made = napi_create_external_arraybuffer(
      env, start, range->length,
      [](napi_env, void*, void* hint) {
        Range* range = static_cast<Range*>(hint);
        range->Unmap();
        delete range;
      },
      range, &buffer);
  if (made != napi_ok) {
    range->Unmap();
    delete range;
    return Napi::Number::New(env, -ENOTSUP);
  }
  range_ = range;
  return Napi::Value(env, buffer);
}

Napi::Value Memory::Unmap(const Napi::CallbackInfo& info) {
  // The buffer is alive until here, being an argument, and so is the range.
  Range* range = range_;
  range_ = nullptr;
  void* const start = range->start;
  const size_t length = range->length;
  range->start = nullptr;  // detaching may run the finalizer, which deletes the range
  if (napi_detach_arraybuffer(info.Env(), info[0]) != napi_ok) {
    range->start = start;
    return Napi::Number::New(info.Env(), -EBUSY);
  }
  munmap(start, length);
  return Napi::Number::New(info.Env(), 0);
}
