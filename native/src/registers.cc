#include "registers.h"

#include <errno.h>
#include <sys/mman.h>

#include "memory.h"

Napi::Function Registers::Define(Napi::Env env) {
  return DefineClass(env, "Registers",
                     {
                         InstanceMethod<&Registers::Map>("map"),
                         InstanceMethod<&Registers::Unmap>("unmap"),
                         InstanceMethod<&Registers::Read<uint8_t>>("read8"),
                         InstanceMethod<&Registers::Read<uint16_t>>("read16"),
                         InstanceMethod<&Registers::Read<uint32_t>>("read32"),
                         InstanceMethod<&Registers::Write<uint8_t>>("write8"),
                         InstanceMethod<&Registers::Write<uint16_t>>("write16"),
                         InstanceMethod<&Registers::Write<uint32_t>>("write32"),
                     });
}

Registers::~Registers() { Release(); }

Napi::Value Registers::Map(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>();
  const int64_t offset = info[1].As<Napi::Number>();
  const size_t length = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  void* start = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
  if (start == MAP_FAILED) return Napi::Number::New(info.Env(), -errno);
  start_ = static_cast<char*>(start);
  length_ = length;
  mapped::Guard(start, length, 0xff);  // a card that has gone reads as all ones
  return Napi::Number::New(info.Env(), 0);
}

void Registers::Unmap(const Napi::CallbackInfo&) { Release(); }

void Registers::Release() {
  if (!start_) return;
  mapped::Forget(start_);
  munmap(start_, length_);
  start_ = nullptr;
}

template <typename Word>
Napi::Value Registers::Read(const Napi::CallbackInfo& info) {
  const uint32_t offset = info[0].As<Napi::Number>();
  const Word value = *reinterpret_cast<volatile Word*>(start_ + offset);
  return Napi::Number::New(info.Env(), value);
}

template <typename Word>
void Registers::Write(const Napi::CallbackInfo& info) {
  const uint32_t offset = info[0].As<Napi::Number>();
  // What the driver wrote into memory before is there when the card is told of it.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  *reinterpret_cast<volatile Word*>(start_ + offset) = static_cast<Word>(info[1].As<Napi::Number>().Uint32Value());
}
