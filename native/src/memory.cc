#include "memory.h"

#include <errno.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "release.h"

#include <cstdint>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

namespace {

// Whoever shares a file can cut it short while it is mapped here, and touching what was cut off is SIGBUS. Then the rest of
// the range gets memory of its own, in one mapping, as a process has but 65530 (vm.max_map_count): it is nobody's any more,
// and the process goes on.
class Ranges {
 public:
  void Add(void* start, size_t length, mapped::Loss loss) {
    if (loss.page == 0) loss.page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!handling_) Handle();
    ranges_[reinterpret_cast<uintptr_t>(start)] = {reinterpret_cast<uintptr_t>(start) + length, loss};
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
    if (after == ranges_.begin()) return false;
    const auto& [end, loss] = std::prev(after)->second;
    if (address >= end) return false;
    const uintptr_t from = address & ~(loss.page - 1);
    void* const start = reinterpret_cast<void*>(from);
    constexpr int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE;
    if (mmap(start, end - from, PROT_READ | PROT_WRITE, flags, -1, 0) == MAP_FAILED) return false;
    if (loss.fill != 0) memset(start, loss.fill, end - from);
    const uint64_t once = 1;
    // Nobody else has the bell, and it does not block. Whether it was heard makes no difference to the access.
    if (loss.bell != mapped::kNobody && write(loss.bell, &once, sizeof once) < 0) return true;
    return true;
  }

 private:
  void Handle();

  struct Range {
    uintptr_t end;
    mapped::Loss loss;
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

void mapped::Guard(void* start, size_t length, Loss loss) { ranges->Add(start, length, loss); }

void mapped::Forget(void* start) { ranges->Remove(start); }

struct Memory::Range {
  void* start;
  size_t length;
  bool others;  // whether somebody else can cut it short, and so can be the one who leaves all of it to us

  Range(void* start, size_t length, bool others) : start(start), length(length), others(others) {}
  Range(const Range&) = delete;
  ~Range() { Unmap(); }

  void Unmap() {
    if (!start) return;
    mapped::Forget(start);
    if (others) release::Unmap(start, length);
    else munmap(start, length);
    start = nullptr;
  }
};

Napi::Function Memory::Define(Napi::Env env) {
  return DefineClass(env, "Memory",
                     {
                         Method<&Memory::Map, kNumber, kNumber, kNumber, kFlag, kNumber>("map"),
                         Method<&Memory::Unmap, kBuffer>("unmap"),
                     });
}

Napi::Value Memory::Map(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const int fd = info[0].As<Napi::Number>();
  const int64_t offset = info[1].As<Napi::Number>();
  int64_t length = info[2].As<Napi::Number>();
  const bool shared = info[3].As<Napi::Boolean>();
  const int bell = info[4].As<Napi::Number>();
  if (offset < 0 || length <= 0) return Napi::Number::New(env, -EINVAL);
  struct stat about;
  if (fstat(fd, &about) < 0) return Napi::Number::New(env, -errno);
  // Beyond a file's end there is no memory: touching it there is SIGBUS.
  if (S_ISREG(about.st_mode) && (about.st_size < length || about.st_size - length < offset))
    return Napi::Number::New(env, -ENXIO);
  // Huge pages are mapped whole.
  struct statfs files;
  const bool huge = fstatfs(fd, &files) == 0 && files.f_type == HUGETLBFS_MAGIC;
  const int64_t page = huge ? files.f_bsize : 0;
  if (huge) length = (length + page - 1) / page * page;
  // Not shared: what is written stays here, so that a stray write to read-only memory is not the end of the process.
  // Shared huge pages are reserved now, so that it is known now when there are too few.
  const int flags = shared ? MAP_SHARED | (huge ? 0 : MAP_NORESERVE) : MAP_PRIVATE | MAP_NORESERVE;
  void* start = mmap(nullptr, static_cast<size_t>(length), PROT_READ | PROT_WRITE, flags, fd, offset);
  if (start == MAP_FAILED) return Napi::Number::New(env, -errno);
  auto range = std::make_shared<Range>(start, static_cast<size_t>(length), bell != mapped::kNobody);
  mapped::Guard(start, range->length, {static_cast<size_t>(page), 0, bell});
  auto* const kept = new std::shared_ptr<Range>(range);
  napi_value buffer;
  const napi_status made = napi_create_external_arraybuffer(
      env, start, static_cast<size_t>(info[2].As<Napi::Number>().Int64Value()),
      [](napi_env, void*, void* hint) {
        auto* const kept = static_cast<std::shared_ptr<Range>*>(hint);
        (*kept)->Unmap();
        delete kept;
      },
      kept, &buffer);
  if (made != napi_ok) {
    delete kept;
    return Napi::Number::New(env, -ENOTSUP);
  }
  range_ = range;
  return Napi::Value(env, buffer);
}

Napi::Value Memory::Unmap(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const auto range = range_;
  void* data;
  size_t length;
  napi_get_arraybuffer_info(env, info[0], &data, &length);
  if (!range || !range->start || data != range->start) return Napi::Number::New(env, -EINVAL);
  void* const start = range->start;
  range->start = nullptr;  // detaching may run the finalizer, which would unmap it under the buffer
  const napi_status detached = napi_detach_arraybuffer(env, info[0]);
  range->start = start;
  if (detached != napi_ok) return Napi::Number::New(env, -EBUSY);
  range->Unmap();
  range_.reset();
  return Napi::Number::New(env, 0);
}
