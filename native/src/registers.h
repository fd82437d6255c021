#pragma once
#include <napi.h>

#include <cstddef>
#include <cstdint>

#include "checked.h"

// A device's registers, mapped. An access is one access of exactly that width: the compiler may neither leave it out, nor
// split, merge or repeat it, as it may with memory that JavaScript sees as an array.
class Registers : public Object<Registers> {
 public:
  static Napi::Function Define(Napi::Env env);
  explicit Registers(const Napi::CallbackInfo& info) : Object<Registers>(info) {}
  ~Registers() override;

 private:
  Napi::Value Map(const Napi::CallbackInfo& info);  // (fd, offset, length) -> 0 or -errno
  void Unmap(const Napi::CallbackInfo& info);
  // (offset), (offset, value): the caller sees to it that the offset is aligned; outside of what is mapped is a RangeError
  template <typename Word>
  Napi::Value Read(const Napi::CallbackInfo& info);
  template <typename Word>
  void Write(const Napi::CallbackInfo& info);
  template <typename Word>
  volatile Word* At(const Napi::CallbackInfo& info);  // null, with an exception pending, where it is not inside
  void Release();

  char* start_ = nullptr;
  size_t length_ = 0;
};
