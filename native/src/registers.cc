#include "registers.h"

#include <errno.h>
#include <sys/mman.h>

#include "memory.h"

Napi::Function Registers::Define(Napi::Env env) {
  return DefineClass(env, "Registers",
                     {
                         Method<&Registers::Map, kNumber, kNumber, kNumber>("map"),
                         Method<&Registers::Unmap>("unmap"),
                         Method<&Registers::Read<uint8_t>>("read8"),
                         Method<&Registers::Read<uint16_t>>("read16"),
                         Method<&Registers::Read<uint32_t>>("read32"),
                         Method<&Registers::Write<uint8_t>>("write8"),
                         Method<&Registers::Write<uint16_t>>("write16"),
                         Method<&Registers::Write<uint32_t>>("write32"),
                     });
}

Registers::~Registers() { Release(); }

Napi::Value Registers::Map(const Napi::CallbackInfo& info) {
  Release();
  const int fd = info[0].As<Napi::Number>();
  const int64_t offset = info[1].As<Napi::Number>();
  const size_t length = static_cast<size_t>(info[2].As<Napi::Number>().Int64Value());
  void* start = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset);
  if (start == MAP_FAILED) return Napi::Number::New(info.Env(), -errno);
  start_ = static_cast<char*>(start);
  length_ = length;
  mapped::Guard(start, length, {0, 0xff, mapped::kNobody});  // a card that has gone reads as all ones
  return Napi::Number::New(info.Env(), 0);
}

void Registers::Unmap(const Napi::CallbackInfo&) { Release(); }

void Registers::Release() {
  if (!start_) return;
  mapped::Forget(start_);
  munmap(start_, length_);
  start_ = nullptr;
  length_ = 0;
}

// Taking a number says whether it is one: to ask before would be a call more for every access.
template <typename Word>
volatile Word* Registers::At(const Napi::CallbackInfo& info) {
  uint32_t offset;
  if (napi_get_value_uint32(info.Env(), info[0], &offset) != napi_ok) Fits(info, {kNumber});
  else if (uint64_t{offset} + sizeof(Word) <= length_) return reinterpret_cast<volatile Word*>(start_ + offset);
  else Inside(info.Env(), offset, sizeof(Word), length_);
  return nullptr;
}

template <typename Word>
Napi::Value Registers::Read(const Napi::CallbackInfo& info) {
  const volatile Word* const at = At<Word>(info);
  return at ? Napi::Number::New(info.Env(), *at) : Napi::Value();
}

template <typename Word>
void Registers::Write(const Napi::CallbackInfo& info) {
  volatile Word* const at = At<Word>(info);
  uint32_t value;
  if (!at) return;
  if (napi_get_value_uint32(info.Env(), info[1], &value) != napi_ok) {
    Fits(info, {kNumber, kNumber});
    return;
  }
  // What the driver wrote into memory before is there when the card is told of it.
  __atomic_thread_fence(__ATOMIC_RELEASE);
  *at = static_cast<Word>(value);
}
