#include "wait.h"

#include <errno.h>

// As in poll.cc: libuv closes handles later than it is asked to, so the handle outlives its object.
struct Wait::Handle {
  uv_prepare_t prepare;
  uv_idle_t awake;  // while it runs, the loop does not sleep
  Wait* owner;
  napi_async_cleanup_hook_handle hook;
  int open;

  void Start() {
    uv_prepare_start(&prepare, [](uv_prepare_t* prepare) {
      Handle* self = static_cast<Handle*>(prepare->data);
      if (!self->owner) return;
      uv_idle_stop(&self->awake);
      self->owner->BeforeSleep(prepare->loop);
      // The loop's turn, and only that: with these descriptors left out of it, it must not sleep, whatever became
      // meanwhile of what it had to do.
      if (uv_is_active(reinterpret_cast<uv_handle_t*>(prepare))) uv_idle_start(&self->awake, [](uv_idle_t*) {});
    });
  }

  void Stop() {
    uv_prepare_stop(&prepare);
    uv_idle_stop(&awake);
  }

  void Close() {
    if (owner) owner->handle_ = nullptr;
    owner = nullptr;
    for (uv_handle_t* handle : {reinterpret_cast<uv_handle_t*>(&prepare), reinterpret_cast<uv_handle_t*>(&awake)}) {
      if (uv_is_closing(handle)) continue;
      uv_close(handle, [](uv_handle_t* closed) {
        Handle* self = static_cast<Handle*>(closed->data);
        if (--self->open > 0) return;
        napi_remove_async_cleanup_hook(self->hook);
        delete self;
      });
    }
  }
};

Napi::Function Wait::Define(Napi::Env env) {
  return DefineClass(env, "Wait",
                     {
                         Method<&Wait::Open>("open"),
                         Method<&Wait::Add, kNumber>("add"),
                         Method<&Wait::Until, kNumber, kNumber>("until"),
                         Method<&Wait::Remove, kNumber>("remove"),
                     });
}

Wait::Wait(const Napi::CallbackInfo& info)
    : Object<Wait>(info),
      context_(info.Env(), "fauxnic.Wait") {
  if (Fits(info, {kFunction})) ready_ = Napi::Persistent(info[0].As<Napi::Function>());
}

Wait::~Wait() {
  if (handle_) handle_->Close();
}

Napi::Value Wait::Open(const Napi::CallbackInfo& info) {
  if (handle_) return Napi::Number::New(info.Env(), -EBUSY);
  uv_loop_t* loop;
  napi_get_uv_event_loop(info.Env(), &loop);
  Handle* handle = new Handle{};
  uv_prepare_init(loop, &handle->prepare);
  uv_idle_init(loop, &handle->awake);
  handle->prepare.data = handle->awake.data = handle;
  handle->open = 2;
  handle->owner = this;
  napi_add_async_cleanup_hook(
      info.Env(), [](napi_async_cleanup_hook_handle, void* it) { static_cast<Handle*>(it)->Close(); }, handle,
      &handle->hook);
  handle_ = handle;
  polled_.push_back({uv_backend_fd(loop), POLLIN, 0});
  return Napi::Number::New(info.Env(), 0);
}

Napi::Value Wait::Add(const Napi::CallbackInfo& info) {
  if (!handle_) return Napi::Number::New(info.Env(), -EBADF);
  size_t place = 1;
  while (place < polled_.size() && polled_[place].fd >= 0) place++;
  if (place == polled_.size()) polled_.push_back({});
  polled_[place] = {info[0].As<Napi::Number>(), POLLIN, 0};
  if (added_++ == 0) {
    Ref();
    handle_->Start();
  }
  return Napi::Number::New(info.Env(), static_cast<double>(place));
}

pollfd* Wait::At(const Napi::CallbackInfo& info) {
  const int64_t place = info[0].As<Napi::Number>();
  if (place < 1 || place >= static_cast<int64_t>(polled_.size())) return nullptr;
  pollfd* const it = &polled_[static_cast<size_t>(place)];
  return it->fd < 0 ? nullptr : it;
}

void Wait::Until(const Napi::CallbackInfo& info) {
  if (pollfd* const it = At(info)) it->events = static_cast<short>(info[1].As<Napi::Number>().Int32Value());
}

void Wait::Remove(const Napi::CallbackInfo& info) {
  pollfd* const it = At(info);
  if (!it) return;
  it->fd = -1;
  if (--added_ > 0) return;
  Unref();
  if (handle_) handle_->Stop();
}

void Wait::BeforeSleep(uv_loop_t* loop) {
  for (;;) {
    // 0 where the loop has something to do that is no descriptor: an immediate, a timer, a handle to close or to add.
    uv_update_time(loop);
    const int most = uv_backend_timeout(loop);
    const int found = poll(polled_.data(), polled_.size(), most);
    if (found < 0) continue;  // a signal: if it is for the loop, its descriptor says so now
    const bool loops_turn = most == 0 || found == 0 || polled_[0].revents != 0;
    // Places that are added meanwhile have nothing in revents yet; those that are removed are -1.
    for (size_t place = 1; found > 0 && place < polled_.size(); place++) {
      if (polled_[place].revents == 0) continue;
      polled_[place].revents = 0;
      if (polled_[place].fd >= 0) Ready(place);
      if (!handle_) return;
    }
    if (loops_turn || added_ == 0) return;
  }
}

void Wait::Ready(size_t place) {
  Napi::Env env = Env();
  Napi::HandleScope scope(env);
  ready_.MakeCallback(Value(), {Napi::Number::New(env, static_cast<double>(place))}, context_);
  if (env.IsExceptionPending()) napi_fatal_exception(env, env.GetAndClearPendingException().Value());
}
