#include "socket.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "release.h"

namespace {

constexpr int kMostDescriptors = 253;  // SCM_MAX_FD: no message carries more

Napi::Value Result(const Napi::CallbackInfo& info, int64_t result) {
  return Napi::Number::New(info.Env(), static_cast<double>(result));
}

sockaddr_un AddressOf(const Napi::CallbackInfo& info) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = info[0].As<Napi::String>();
  strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

constexpr size_t kHeader = 16;  // vfio-user: the whole message's length is its second 32-bit word, little-endian

int64_t Milliseconds() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

// 0 once the descriptor is ready, -ETIMEDOUT at the deadline.
int Await(int fd, short events, int64_t deadline) {
  for (;;) {
    pollfd it = {fd, events, 0};
    const int64_t left = deadline - Milliseconds();
    const int ready = poll(&it, 1, left > 0 ? static_cast<int>(left) : 0);
    if (ready > 0) return 0;
    if (ready == 0) return -ETIMEDOUT;
    if (errno != EINTR) return -errno;
  }
}

int Open() { return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

}  // namespace

Napi::Function Socket::Define(Napi::Env env) {
  return DefineClass(env, "Socket",
                     {
                         Method<&Socket::Listen, kText, kNumber>("listen"),
                         Method<&Socket::Connect, kText>("connect"),
                         Method<&Socket::Accept, kNumber>("accept"),
                         Method<&Socket::Adopt, kNumber>("adopt"),
                         Method<&Socket::Receive, kBytes, kNumber, kNumber, kInts>("receive"),
                         Method<&Socket::Send, kBytes, kNumber, kNumber, kInts, kNumber>("send"),
                         Method<&Socket::Write, kBytes, kNumber, kNumber>("write"),
                         Method<&Socket::Exchange, kBytes, kNumber, kBytes, kNumber>("exchange"),
                         Method<&Socket::Wait, kNumber>("wait"),
                         Method<&Socket::Close>("close"),
                     });
}

Napi::Value Socket::Listen(const Napi::CallbackInfo& info) {
  const sockaddr_un address = AddressOf(info);
  Shut();
  fd_ = Open();
  if (fd_ < 0) return Result(info, -errno);
  // The socket's mode is what its file in the file system will have, less the umask: there is no moment in which others
  // could connect.
  if (fchmod(fd_, 0600) < 0 || bind(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
    return Result(info, -errno);
  if (listen(fd_, info[1].As<Napi::Number>()) < 0) {
    const int failed = errno;
    unlink(address.sun_path);
    return Result(info, -failed);
  }
  return Result(info, fd_);
}

Napi::Value Socket::Connect(const Napi::CallbackInfo& info) {
  const sockaddr_un address = AddressOf(info);
  Shut();
  fd_ = Open();
  if (fd_ < 0) return Result(info, -errno);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return Result(info, -errno);
  return Result(info, fd_);
}

Napi::Value Socket::Accept(const Napi::CallbackInfo& info) {
  Shut();
  fd_ = accept4(info[0].As<Napi::Number>(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return Result(info, fd_ < 0 ? -errno : fd_);
}

// A connected one that came over another socket; -EINVAL where it is something else.
Napi::Value Socket::Adopt(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>();
  int domain = 0;
  int type = 0;
  socklen_t length = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) < 0 ||
      getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0 || domain != AF_UNIX || type != SOCK_STREAM)
    return Result(info, -EINVAL);
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0) return Result(info, -errno);
  fd_ = fd;
  return Result(info, fd_);
}

Napi::Value Socket::Receive(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  const int64_t start = info[1].As<Napi::Number>();
  const int64_t length = info[2].As<Napi::Number>();
  Napi::Int32Array fds = info[3].As<Napi::Int32Array>();
  if (!Inside(info.Env(), start, length, bytes.ByteLength()) || !Inside(info.Env(), 0, 1, fds.ElementLength())) return {};
  alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int))];
  iovec part = {bytes.Data() + start, static_cast<size_t>(length)};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t got;
  do got = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  if (got < 0) return Result(info, -errno);
  int32_t* const into = fds.Data();
  const int room = static_cast<int>(fds.ElementLength()) - 1;
  int count = 0;
  for (cmsghdr* it = CMSG_FIRSTHDR(&message); it; it = CMSG_NXTHDR(&message, it)) {
    if (it->cmsg_level != SOL_SOCKET || it->cmsg_type != SCM_RIGHTS) continue;
    const size_t carried = (it->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < carried; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(it) + i * sizeof fd, sizeof fd);
      if (count < room) into[1 + count] = fd;
      else release::Close(fd);
      count++;
    }
  }
  into[0] = count;
  // There is room for all that a message may carry; where some are missing, this process may have no more open.
  if (message.msg_flags & MSG_CTRUNC) {
    for (int i = 0; i < std::min(count, room); i++) release::Close(into[1 + i]);
    into[0] = -1;
  }
  return Result(info, got);
}

Napi::Value Socket::Send(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  int64_t start = info[1].As<Napi::Number>();
  int64_t left = info[2].As<Napi::Number>();
  if (!Inside(info.Env(), start, left, bytes.ByteLength())) return {};
  Napi::Int32Array fds = info[3].As<Napi::Int32Array>();
  if (!Inside(info.Env(), 0, fds.ElementLength(), kMostDescriptors)) return {};
  const int64_t deadline = Milliseconds() + info[4].As<Napi::Number>().Int32Value();
  alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int))];
  size_t carried = fds.ElementLength() * sizeof(int);
  while (left > 0) {
    iovec part = {bytes.Data() + start, static_cast<size_t>(left)};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (carried > 0) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(carried);
      cmsghdr* rights = CMSG_FIRSTHDR(&message);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(carried);
      memcpy(CMSG_DATA(rights), fds.Data(), carried);
    }
    const ssize_t put = sendmsg(fd_, &message, MSG_NOSIGNAL);
    if (put >= 0) {
      start += put;
      left -= put;
      carried = 0;
    } else if (errno == EAGAIN) {
      const int failed = Await(fd_, POLLOUT, deadline);
      if (failed) return Result(info, failed);
    } else if (errno != EINTR) {
      return Result(info, -errno);
    }
  }
  return Result(info, 0);
}

Napi::Value Socket::Write(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  const int64_t start = info[1].As<Napi::Number>();
  const int64_t length = info[2].As<Napi::Number>();
  if (!Inside(info.Env(), start, length, bytes.ByteLength())) return {};
  ssize_t put;
  do put = send(fd_, bytes.Data() + start, static_cast<size_t>(length), MSG_NOSIGNAL);
  while (put < 0 && errno == EINTR);
  return Result(info, put < 0 ? -errno : put);
}

Napi::Value Socket::Exchange(const Napi::CallbackInfo& info) {
  Napi::Uint8Array asked = info[0].As<Napi::Uint8Array>();
  Napi::Uint8Array reply = info[2].As<Napi::Uint8Array>();
  const int64_t whole = info[1].As<Napi::Number>();
  if (!Inside(info.Env(), 0, whole, asked.ByteLength()) || !Inside(info.Env(), 0, kHeader, reply.ByteLength())) return {};
  const uint8_t* const request = asked.Data();
  const size_t length = static_cast<size_t>(whole);
  uint8_t* const into = reply.Data();
  const int patience = info[3].As<Napi::Number>();
  const int64_t deadline = Milliseconds() + patience;
  for (size_t sent = 0; sent < length;) {
    const ssize_t put = send(fd_, request + sent, length - sent, MSG_NOSIGNAL);
    if (put >= 0) {
      sent += static_cast<size_t>(put);
    } else if (errno == EAGAIN) {
      const int failed = Await(fd_, POLLOUT, deadline);
      if (failed) return Result(info, failed);
    } else if (errno != EINTR) {
      return Result(info, -errno);
    }
  }
  for (size_t size = kHeader;;) {
    if (held_ >= kHeader) {
      size = into[4] | into[5] << 8 | into[6] << 16 | static_cast<size_t>(into[7]) << 24;
      if (size < kHeader || size > reply.ByteLength()) return Result(info, -EMSGSIZE);
      if (held_ == size) {
        held_ = 0;
        return Result(info, static_cast<int64_t>(size));
      }
    }
    // Never more than this message. Descriptors that come along are not received: the kernel drops them.
    const ssize_t got = recv(fd_, into + held_, size - held_, 0);
    if (got > 0) {
      held_ += static_cast<size_t>(got);
    } else if (got == 0) {
      return Result(info, -EPIPE);
    } else if (errno == EAGAIN) {
      if (patience == 0) return Result(info, 0);
      const int failed = Await(fd_, POLLIN, deadline);
      if (failed) return Result(info, failed);
    } else if (errno != EINTR) {
      return Result(info, -errno);
    }
    // A message that comes byte by byte must be here in time as well.
    if (held_ < size && patience > 0 && Milliseconds() > deadline) return Result(info, -ETIMEDOUT);
  }
}

Napi::Value Socket::Wait(const Napi::CallbackInfo& info) {
  pollfd until = {fd_, POLLIN, 0};
  const int found = poll(&until, 1, info[0].As<Napi::Number>());
  return Result(info, found < 0 && errno != EINTR ? -errno : found > 0);
}

void Socket::Close(const Napi::CallbackInfo&) { Shut(); }

void Socket::Shut() {
  if (fd_ < 0) return;
  release::CloseSocket(fd_);
  fd_ = -1;
}
