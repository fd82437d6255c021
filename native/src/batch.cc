#include "batch.h"

#include <errno.h>
#include <limits.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdio>

bool Batch::Take(const Napi::CallbackInfo& info) {
  napi_env env = info.Env();
  void* data;
  if (napi_get_arraybuffer_info(env, info[0], &data, &size) != napi_ok) {
    napi_throw_type_error(env, nullptr, "memory must be an ArrayBuffer");
    return false;
  }
  memory = static_cast<uint8_t*>(data);
  napi_typedarray_type type;
  size_t length;
  if (napi_get_typedarray_info(env, info[1], &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_int32_array) {
    napi_throw_type_error(env, nullptr, "vec must be an Int32Array");
    return false;
  }
  vec = static_cast<int32_t*>(data);
  if (napi_get_value_uint32(env, info[2], &count) != napi_ok) {
    napi_throw_type_error(env, nullptr, "count must be a number");
    return false;
  }
  if (count > length / 3 || count > INT_MAX) {
    napi_throw_range_error(env, nullptr, "count is more than the entries in vec (3 integers each)");
    return false;
  }
  return true;
}

static int BadEntry(napi_env env, uint32_t index, const char* why) {
  char message[96];
  snprintf(message, sizeof message, "entry %u: %s", index, why);
  napi_throw_range_error(env, nullptr, message);
  return Batch::kBadEntry;
}

static bool Inside(int32_t offset, int32_t length, size_t size) {
  return offset >= 0 && length >= 0 && static_cast<uint64_t>(offset) + static_cast<uint64_t>(length) <= size;
}

static constexpr const char* kOutside = "offset and length reach outside of memory";

// Every entry is copied before it is judged: vec may lie in shared memory, where another thread writes.

int Batch::Read(napi_env env, int fd, int32_t least) {
  for (uint32_t i = 0; i < count; i++) {
    int32_t* entry = vec + 3 * static_cast<size_t>(i);
    const int32_t offset = *const_cast<volatile int32_t*>(entry);
    const int32_t capacity = *const_cast<volatile int32_t*>(entry + 1);
    if (!Inside(offset, capacity, size)) return BadEntry(env, i, kOutside);
    if (capacity < least) return BadEntry(env, i, "capacity is too small for any frame, which would be lost");
    ssize_t got;
    do got = read(fd, memory + offset, static_cast<size_t>(capacity));
    while (got < 0 && errno == EINTR);
    // An error after frames is not lost: it comes again with the next call, for which nothing is in its way.
    if (got < 0) return i > 0 || errno == EAGAIN ? static_cast<int>(i) : -errno;
    entry[2] = static_cast<int32_t>(got);
  }
  return static_cast<int>(count);
}

static ssize_t WriteFrame(int fd, const iovec* parts, int count) {
  ssize_t put;
  do put = count == 1 ? write(fd, parts->iov_base, parts->iov_len) : writev(fd, parts, count);
  while (put < 0 && errno == EINTR);
  return put;
}

int Batch::Write(napi_env env, int fd, double* refused) {
  iovec parts[IOV_MAX];
  uint32_t done = 0;
  while (done < count) {
    uint32_t next = done;
    int gathered = 0;
    bool more;
    do {
      if (next == count) return BadEntry(env, next - 1, "more follows, but it is the last entry");
      if (gathered == IOV_MAX) return BadEntry(env, next, "a frame in more than 1024 pieces");
      const volatile int32_t* entry = vec + 3 * static_cast<size_t>(next);
      const int32_t offset = entry[0];
      const int32_t length = entry[1];
      more = entry[2] != 0;
      if (!Inside(offset, length, size)) return BadEntry(env, next, kOutside);
      parts[gathered++] = {memory + offset, static_cast<size_t>(length)};
      next++;
    } while (more);
    if (WriteFrame(fd, parts, gathered) < 0) {
      if (errno == EAGAIN) return static_cast<int>(done);
      // EBADFD: the interface was deleted under the descriptor. No further frame can fare better.
      if (errno == EBADF || errno == EBADFD) return done > 0 ? static_cast<int>(done) : -errno;
      (*refused)++;
    }
    done = next;
  }
  return static_cast<int>(done);
}
