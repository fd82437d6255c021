#include "poll.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

// libuv aborts the process when a descriptor was closed that it is to watch, so it gets one of its own.
// It closes handles later than it is asked to, so the handle outlives its object. The hook is for a worker that ends
// with handles open: Node then waits until their closing is done.
struct Poll::Handle {
  uv_poll_t poll;
  Poll* owner;
  napi_async_cleanup_hook_handle hook;
  int fd;

  void Close() {
    if (owner) owner->handle_ = nullptr;
    owner = nullptr;
    uv_handle_t* handle = reinterpret_cast<uv_handle_t*>(&poll);
    if (uv_is_closing(handle)) return;
    uv_close(handle, [](uv_handle_t* closed) {
      Handle* self = static_cast<Handle*>(closed->data);
      napi_remove_async_cleanup_hook(self->hook);
      delete self;
    });
    close(fd);  // by now libuv has let go of it
  }
};

Napi::Function Poll::Define(Napi::Env env) {
  return DefineClass(env, "Poll",
                     {
                         Method<&Poll::Open, kNumber>("open"),
                         Method<&Poll::Start, kNumber>("start"),
                         Method<&Poll::Stop>("stop"),
                         Method<&Poll::Hold, kFlag>("hold"),
                         Method<&Poll::Close>("close"),
                     });
}

Poll::Poll(const Napi::CallbackInfo& info)
    : Object<Poll>(info),
      context_(info.Env(), "fauxnic.Poll") {
  if (Fits(info, {kFunction})) ready_ = Napi::Persistent(info[0].As<Napi::Function>());
}

Poll::~Poll() {
  if (handle_) handle_->Close();
}

Napi::Value Poll::Open(const Napi::CallbackInfo& info) {
  if (handle_) return Napi::Number::New(info.Env(), -EBUSY);
  uv_loop_t* loop;
  napi_get_uv_event_loop(info.Env(), &loop);
  const int fd = fcntl(info[0].As<Napi::Number>(), F_DUPFD_CLOEXEC, 0);
  if (fd < 0) return Napi::Number::New(info.Env(), -errno);
  Handle* handle = new Handle{};
  handle->fd = fd;
  const int failed = uv_poll_init(loop, &handle->poll, fd);
  if (failed) {
    close(fd);
    delete handle;
    return Napi::Number::New(info.Env(), failed);
  }
  handle->poll.data = handle;
  handle->owner = this;
  napi_add_async_cleanup_hook(
      info.Env(), [](napi_async_cleanup_hook_handle, void* it) { static_cast<Handle*>(it)->Close(); }, handle,
      &handle->hook);
  handle_ = handle;
  return Napi::Number::New(info.Env(), 0);
}

Napi::Value Poll::Start(const Napi::CallbackInfo& info) {
  if (!handle_) return Napi::Number::New(info.Env(), -EBADF);
  const int wanted = info[0].As<Napi::Number>();
  if (wanted == 0 || (wanted & ~(UV_READABLE | UV_WRITABLE)) != 0) return Napi::Number::New(info.Env(), -EINVAL);
  if (started_ == wanted) return Napi::Number::New(info.Env(), 0);
  const int failed = uv_poll_start(&handle_->poll, wanted, [](uv_poll_t* poll, int status, int events) {
    Poll* self = static_cast<Handle*>(poll->data)->owner;
    if (!self) return;
    // libuv stops a handle whose descriptor has an error. The reader's next read finds out which.
    if (status < 0) self->Stopped();
    self->Ready(status < 0 ? UV_READABLE : events);
  });
  if (!failed) {
    if (!started_) Ref();  // while the loop may call, the object stays, whether or not anyone holds it
    started_ = wanted;
  }
  return Napi::Number::New(info.Env(), failed);
}

void Poll::Ready(int events) {
  Napi::Env env = Env();
  Napi::HandleScope scope(env);
  const napi_value argument = Napi::Number::New(env, events);
  ready_.MakeCallback(Value(), 1, &argument, context_);
  // What the callback throws is uncaught, as from any callback of the loop.
  if (env.IsExceptionPending()) napi_fatal_exception(env, env.GetAndClearPendingException().Value());
}

void Poll::Stopped() {
  if (!started_) return;
  started_ = 0;
  Unref();
}

void Poll::Stop(const Napi::CallbackInfo&) {
  if (handle_) uv_poll_stop(&handle_->poll);
  Stopped();
}

void Poll::Hold(const Napi::CallbackInfo& info) {
  if (!handle_) return;
  uv_handle_t* handle = reinterpret_cast<uv_handle_t*>(&handle_->poll);
  if (info[0].As<Napi::Boolean>()) {
    uv_ref(handle);
  } else {
    uv_unref(handle);
  }
}

void Poll::Close(const Napi::CallbackInfo&) {
  if (handle_) handle_->Close();
  Stopped();
}
