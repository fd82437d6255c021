#pragma once
#include <napi.h>

#include <cstddef>
#include <memory>

#include "checked.h"

// Mapped ranges whose owner can take what is behind them away. Touching it then is no SIGBUS: from there to its end the range
// becomes memory that is nobody's else.
namespace mapped {

constexpr int kNobody = -1;

struct Loss {
  size_t page;  // what the mapping can be cut at; 0: the system's own
  int fill;     // what is read there from then on
  int bell;     // an eventfd to be signalled, or kNobody
};

void Guard(void* start, size_t length, Loss loss);
void Forget(void* start);

}  // namespace mapped

// A range of a descriptor's memory, mapped for JavaScript as an ArrayBuffer. The range outlives its buffer: it is unmapped
// after the buffer was detached, or by the buffer's finalizer when nobody can hold a view any more.
class Memory : public Object<Memory> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Memory(const Napi::CallbackInfo& info) : Object<Memory>(info) {}

 private:
  struct Range;

  // (fd, offset, length, shared, bell: an eventfd or -1) -> ArrayBuffer or -errno
  Napi::Value Map(const Napi::CallbackInfo& info);
  Napi::Value Unmap(const Napi::CallbackInfo& info);  // (the buffer)

  std::shared_ptr<Range> range_;  // the buffer's too
};
