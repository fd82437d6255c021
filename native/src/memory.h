#pragma once
#include <napi.h>

#include <cstddef>

// Mapped ranges whose owner can take what is behind them away. Touching it then is no SIGBUS: the page has this fill instead.
namespace mapped {

void Guard(void* start, size_t length, int fill);
void Forget(void* start);

}  // namespace mapped

// A range of a descriptor's memory, mapped for JavaScript as an ArrayBuffer. The range outlives its buffer: it is unmapped
// after the buffer was detached, or by the buffer's finalizer when nobody can hold a view any more.
class Memory : public Napi::ObjectWrap<Memory> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Memory(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Memory>(info) {}

 private:
  struct Range;

  Napi::Value Map(const Napi::CallbackInfo& info);    // (fd, offset, length, shared) -> ArrayBuffer or -errno
  Napi::Value Unmap(const Napi::CallbackInfo& info);  // (the buffer)

  Range* range_ = nullptr;
};
