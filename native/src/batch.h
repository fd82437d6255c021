#pragma once
#include <napi.h>

#include <cstddef>
#include <cstdint>

// The packet path: many frames per call between one ArrayBuffer and a descriptor that keeps frame boundaries.
// An entry of the table is three 32-bit integers; frames are located by them, and nothing is allocated.
// Looking up memory and vec costs 35 ns a call (measured; a call that finds no frame costs 460): not worth keeping
// pointers between calls, which a detached buffer would leave dangling.
struct Batch {
  uint8_t* memory;
  size_t size;
  int32_t* vec;
  uint32_t count;

  // Takes (memory, vec, count) of a call; false where an exception is pending.
  bool Take(const Napi::CallbackInfo& info);
  // Reads a frame into each entry [offset, capacity, length out] until none waits. Frames read, or -errno where the
  // first read failed, or kBadEntry with an exception pending.
  int Read(napi_env env, int fd, int32_t least);
  // Writes entries [offset, length, more]. Entries written, counting those of frames that the kernel refused, whose
  // number is added to *refused; or -errno, or kBadEntry.
  int Write(napi_env env, int fd, double* refused);

  static constexpr int kBadEntry = INT32_MIN;
};
