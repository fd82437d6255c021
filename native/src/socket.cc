#include "socket.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

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

int Open() { return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); }

}  // namespace

Napi::Function Socket::Define(Napi::Env env) {
  return DefineClass(env, "Socket",
                     {
                         InstanceMethod<&Socket::Listen>("listen"),
                         InstanceMethod<&Socket::Connect>("connect"),
                         InstanceMethod<&Socket::Accept>("accept"),
                         InstanceMethod<&Socket::Receive>("receive"),
                         InstanceMethod<&Socket::Send>("send"),
                         InstanceMethod<&Socket::Write>("write"),
                         InstanceMethod<&Socket::AwaitInput>("awaitInput"),
                         InstanceMethod<&Socket::Close>("close"),
                     });
}

Napi::Value Socket::Listen(const Napi::CallbackInfo& info) {
  const sockaddr_un address = AddressOf(info);
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
  fd_ = Open();
  if (fd_ < 0) return Result(info, -errno);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0) return Result(info, -errno);
  return Result(info, fd_);
}

Napi::Value Socket::Accept(const Napi::CallbackInfo& info) {
  fd_ = accept4(info[0].As<Napi::Number>(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  return Result(info, fd_ < 0 ? -errno : fd_);
}

Napi::Value Socket::Receive(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  const size_t start = info[1].As<Napi::Number>().Int64Value();
  const size_t length = info[2].As<Napi::Number>().Int64Value();
  Napi::Int32Array fds = info[3].As<Napi::Int32Array>();
  alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int))];
  iovec part = {bytes.Data() + start, length};
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
      else close(fd);
      count++;
    }
  }
  into[0] = count;
  return Result(info, got);
}

Napi::Value Socket::Send(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  size_t start = info[1].As<Napi::Number>().Int64Value();
  size_t left = info[2].As<Napi::Number>().Int64Value();
  Napi::Int32Array fds = info[3].As<Napi::Int32Array>();
  const int patience = info[4].As<Napi::Number>();
  alignas(cmsghdr) char control[CMSG_SPACE(kMostDescriptors * sizeof(int))] = {};
  size_t carried = fds.ElementLength() * sizeof(int);
  while (left > 0) {
    iovec part = {bytes.Data() + start, left};
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
      start += static_cast<size_t>(put);
      left -= static_cast<size_t>(put);
      carried = 0;
    } else if (errno == EAGAIN) {
      pollfd room = {fd_, POLLOUT, 0};
      if (poll(&room, 1, patience) == 0) return Result(info, -ETIMEDOUT);
    } else if (errno != EINTR) {
      return Result(info, -errno);
    }
  }
  return Result(info, 0);
}

Napi::Value Socket::Write(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  const size_t start = info[1].As<Napi::Number>().Int64Value();
  const size_t length = info[2].As<Napi::Number>().Int64Value();
  ssize_t put;
  do put = send(fd_, bytes.Data() + start, length, MSG_NOSIGNAL);
  while (put < 0 && errno == EINTR);
  return Result(info, put < 0 ? -errno : put);
}

Napi::Value Socket::AwaitInput(const Napi::CallbackInfo& info) {
  pollfd input = {fd_, POLLIN, 0};
  int ready;
  do ready = poll(&input, 1, info[0].As<Napi::Number>());
  while (ready < 0 && errno == EINTR);
  return Result(info, ready < 0 ? -errno : ready);
}

void Socket::Close(const Napi::CallbackInfo&) { Shut(); }

void Socket::Shut() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}
