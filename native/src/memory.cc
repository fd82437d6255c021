#include "memory.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

namespace {

// Whoever shares a file can cut it short while it is mapped here, and touching what was cut off is SIGBUS. Then the page
// gets memory of its own: it is nobody's any more, and the process goes on.
class Ranges {
 public:
  void Add(void* start, size_t length, int fill) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!handling_) Handle();
    ranges_[reinterpret_cast<uintptr_t>(start)] = {reinterpret_cast<uintptr_t>(start) + length, fill};
  }

  void Remove(void* start) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ranges_.erase(reinterpret_cast<uintptr_t>(start));
  }

  // The fault comes of an access to mapped memory, so never from within a method of this: the lock is not one's own.
  bool Mend(void* at) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const uintptr_t address = reinterpret_cast<uintptr_t>(at);
    const auto after = ranges_.upper_bound(address);
    if (after == ranges_.begin() || address >= std::prev(after)->second.end) return false;
    const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    void* const start = reinterpret_cast<void*>(address & ~(page - 1));
    constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
    if (mmap(start, page, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) return false;
    if (const int fill = std::prev(after)->second.fill) memset(start, fill, page);
    return true;
  }

 private:
  void Handle();

  struct Range {
    uintptr_t end;
    int fill;
  };

  std::mutex mutex_;
  std::map<uintptr_t, Range> ranges_;
  bool handling_ = false;
};

Ranges* const ranges = new Ranges;  // never destroyed: workers may outlive the main thread's statics
struct sigaction before;

void Ranges::Handle() {
  handling_ = true;
  struct sigaction action = {};
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  action.sa_sigaction = [](int, siginfo_t* info, void*) {
    const int kept = errno;
    const bool sent = info->si_code <= 0;  // by a process, not by an access
    if (sent || !ranges->Mend(info->si_addr)) {
      // Not ours: it comes again, and meets whoever handled it before.
      sigaction(SIGBUS, &before, nullptr);
      if (sent) raise(SIGBUS);
    }
    errno = kept;
  };
  sigaction(SIGBUS, &action, &before);
}

}  // namespace

void mapped::Guard(void* start, size_t length, int fill) { ranges->Add(start, length, fill); }

void mapped::Forget(void* start) { ranges->Remove(start); }

struct Memory::Range {
  void* start;
  size_t length;

  void Unmap() {
    if (!start) return;
    mapped::Forget(start);
    munmap(start, length);
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
  // Huge pages are reserved now: with none left for it, touching such memory would be the end of the process.
  struct statfs files;
  const bool huge = fstatfs(fd, &files) == 0 && files.f_type == HUGETLBFS_MAGIC;
  const int flags = (shared ? MAP_SHARED : MAP_PRIVATE) | (huge ? 0 : MAP_NORESERVE);
  void* start = mmap(nullptr, static_cast<size_t>(length), PROT_READ | PROT_WRITE, flags, fd, offset);
  if (start == MAP_FAILED) return Napi::Number::New(env, -errno);
  Range* range = new Range{start, static_cast<size_t>(length)};
  mapped::Guard(start, range->length, 0);
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
  Range{start, length}.Unmap();
  return Napi::Number::New(info.Env(), 0);
}
