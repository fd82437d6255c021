#include "release.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <mutex>
#include <string_view>

namespace {

struct Job {
  void* start;  // null: a descriptor
  size_t length;
  int fd;

  void Do() const {
    if (start) munmap(start, length);
    else close(fd);
  }
};

// Jobs that wait for one of a few threads. One that never ends keeps a thread for itself, and the others go on.
class Lane {
 public:
  Lane(size_t threads, size_t jobs) : most_threads_(threads), most_jobs_(jobs) {}

  // False where there is no thread for it, or too many jobs wait.
  bool Put(Job job) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (jobs_.size() >= most_jobs_) return false;
    if (jobs_.size() >= idle_ && threads_ < most_threads_ && Start()) threads_++;
    if (threads_ == 0) return false;
    jobs_.push_back(job);
    waiting_.notify_one();
    return true;
  }

 private:
  bool Start() {
    // Signals are for the threads that look after them.
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_t thread;
    const int failed = pthread_create(
        &thread, nullptr,
        [](void* lane) -> void* {
          static_cast<Lane*>(lane)->Work();
          return nullptr;
        },
        this);
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!failed) pthread_detach(thread);
    return !failed;
  }

  void Work() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      idle_++;
      waiting_.wait(lock, [this] { return !jobs_.empty(); });
      idle_--;
      const Job job = jobs_.front();
      jobs_.pop_front();
      lock.unlock();
      job.Do();
      lock.lock();
    }
  }

  const size_t most_threads_;
  const size_t most_jobs_;
  std::mutex mutex_;
  std::condition_variable waiting_;
  std::deque<Job> jobs_;
  size_t threads_ = 0;
  size_t idle_ = 0;  // threads that wait
};

// Never destroyed: the threads outlive the main thread's statics.
Lane* const descriptors = new Lane(16, static_cast<size_t>(-1));
// Unmapping ends, so one thread does. A process has but 65530 mappings (vm.max_map_count), and these are still among them.
Lane* const mappings = new Lane(1, 32768);

constexpr blkcnt_t kSmall = 2048;  // blocks of 512 bytes: freed in less than a millisecond

// Whether it is a little memory, or an eventfd: of all that may come only these are known not to wait.
bool IsQuick(int fd) {
  struct stat about;
  if (fcntl(fd, F_GET_SEALS) >= 0) return fstat(fd, &about) == 0 && about.st_blocks <= kSmall;
  char link[32], kind[32];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, kind, sizeof kind);
  return length > 0 && std::string_view(kind, static_cast<size_t>(length)) == "anon_inode:[eventfd]";
}

}  // namespace

void release::Close(int fd) {
  const Job job = {nullptr, 0, fd};
  if (IsQuick(fd) || !descriptors->Put(job)) job.Do();
}

void release::CloseSocket(int fd) {
  const Job job = {nullptr, 0, fd};
  shutdown(fd, SHUT_RDWR);
  int unread = 0;
  const bool empty = ioctl(fd, FIONREAD, &unread) == 0 && unread == 0;
  if (empty || !descriptors->Put(job)) job.Do();
}

void release::Unmap(void* start, size_t length) {
  const Job job = {start, length, -1};
  if (!mappings->Put(job)) job.Do();
}
