// The C++ side's implementation of interop.capnp, for both programs. What it has to tell is told by `events`.
#pragma once

#include "interop.capnp.h"
#include <kj/async.h>
#include <kj/debug.h>
#include <kj/vector.h>
#include <map>
#include <string>
#include <vector>

// Of one connection, or one scenario.
struct Record final : public kj::Refcounted {
  std::vector<std::string> events;
  void add(kj::StringPtr event) { events.push_back(event.cStr()); }
  std::string last() const { return events.empty() ? "" : events.back(); }
};

class CallbackImpl final : public Callback::Server {
 public:
  explicit CallbackImpl(kj::Own<Record> record, kj::String name, uint32_t plus = 0)
      : record(kj::mv(record)), name(kj::mv(name)), plus(plus) {}
  ~CallbackImpl() noexcept(false) { record->add(kj::str(name, " dropped")); }

  kj::Promise<void> call(CallContext context) override {
    auto value = context.getParams().getValue();
    record->add(kj::str(name, " ", value));
    context.getResults().setValue(value + plus);
    return kj::READY_NOW;
  }

 private:
  kj::Own<Record> record;
  kj::String name;
  uint32_t plus;
};

class CounterImpl final : public NamedCounter::Server {
 public:
  CounterImpl(kj::Own<Record> record, uint32_t value, kj::String text = kj::str())
      : record(kj::mv(record)), value(value), text(kj::mv(text)) {}
  ~CounterImpl() noexcept(false) { record->add(kj::str("counter ", value, " dropped")); }

  kj::Promise<void> add(AddContext context) override {
    value += context.getParams().getBy();
    context.getResults().setValue(value);
    return kj::READY_NOW;
  }

  kj::Promise<void> name(NameContext context) override {
    context.getResults().setName(text);
    return kj::READY_NOW;
  }

 private:
  kj::Own<Record> record;
  uint32_t value;
  kj::String text;
};

class InteropImpl final : public Interop::Server {
 public:
  explicit InteropImpl(kj::Own<Record> record) : record(kj::mv(record)) {}

  kj::Promise<void> echo(EchoContext context) override {
    context.getResults().setAll(context.getParams().getAll());
    return kj::READY_NOW;
  }

  kj::Promise<void> constant(ConstantContext context) override {
    context.getResults().setAll(*EVERYTHING);
    return kj::READY_NOW;
  }

  kj::Promise<void> chunk(ChunkContext context) override {
    context.getResults().setBytes(context.getParams().getBytes());
    return kj::READY_NOW;
  }

  kj::Promise<void> callBack(CallBackContext context) override {
    auto params = context.getParams();
    return callBackFrom(params.getCallback(), 1, params.getTimes(), 0, context);
  }

  kj::Promise<void> gather(GatherContext context) override {
    auto boxes = context.getParams().getBoxes();
    auto made = context.getResults().initBoxes(boxes.size());
    kj::Vector<kj::Promise<uint32_t>> answers;
    for (uint i = 0; i < boxes.size(); i++) {
      auto inner = boxes[i].getInner();
      auto request = inner.getCallback().callRequest();
      request.setValue(inner.getNumber());
      answers.add(request.send().then([](auto results) { return results.getValue(); }));
      made[i].setLabel(boxes[i].getLabel());
      made[i].getInner().setNumber(inner.getNumber());
      made[i].getInner().setCallback(kj::heap<CallbackImpl>(kj::addRef(*record), kj::str("boxed"), inner.getNumber()));
    }
    return kj::joinPromises(answers.releaseAsArray()).then([context](kj::Array<uint32_t> values) mutable {
      uint32_t sum = 0;
      for (auto value : values) sum += value;
      context.getResults().setSum(sum);
    });
  }

  kj::Promise<void> self(SelfContext context) override {
    context.getResults().setInterop(thisCap());
    return kj::READY_NOW;
  }

  kj::Promise<void> counter(CounterContext context) override {
    context.getResults().setCounter(kj::heap<CounterImpl>(kj::addRef(*record), context.getParams().getStart()));
    return kj::READY_NOW;
  }

  kj::Promise<void> named(NamedContext context) override {
    auto name = kj::str(context.getParams().getName());
    context.getResults().setCounter(kj::heap<CounterImpl>(kj::addRef(*record), 0, kj::mv(name)));
    return kj::READY_NOW;
  }

  kj::Promise<void> promise(PromiseContext context) override {
    auto made = kj::newPromiseAndFulfiller<Callback::Client>();
    fulfiller = kj::mv(made.fulfiller);
    context.getResults().setCallback(Callback::Client(kj::mv(made.promise)));
    return kj::READY_NOW;
  }

  kj::Promise<void> fulfil(FulfilContext context) override {
    auto params = context.getParams();
    auto& waiting = *KJ_REQUIRE_NONNULL(fulfiller);
    if (params.hasCallback()) waiting.fulfill(params.getCallback());
    else waiting.reject(kj::Exception(kj::Exception::Type::FAILED, "", 0, kj::str("broken")));
    fulfiller = nullptr;
    return kj::READY_NOW;
  }

  kj::Promise<void> own(OwnContext context) override {
    if (owned == nullptr) owned = Callback::Client(kj::heap<CallbackImpl>(kj::addRef(*record), kj::str("own")));
    context.getResults().setCallback(KJ_ASSERT_NONNULL(owned));
    return kj::READY_NOW;
  }

  kj::Promise<void> wait(WaitContext context) override {
    context.allowCancellation();
    auto id = context.getParams().getId();
    context.releaseParams();
    record->add(kj::str("wait ", id));
    auto gate = kj::newPromiseAndFulfiller<void>();
    gates.push_back(kj::mv(gate.fulfiller));
    auto guard = kj::heap<WaitGuard>(kj::addRef(*record), id);
    auto& guarded = *guard;
    return gate.promise
        .then([context, id, &guarded]() mutable {
          guarded.hasEnded = true;
          context.getResults().setId(id);
        })
        .attach(kj::mv(guard));
  }

  kj::Promise<void> open(OpenContext context) override {
    for (auto& gate : gates) gate->fulfill();
    gates.clear();
    return kj::READY_NOW;
  }

  kj::Promise<void> hold(HoldContext context) override {
    auto params = context.getParams();
    kept = nullptr;
    if (params.hasCallback()) kept = params.getCallback();
    return kj::READY_NOW;
  }

  kj::Promise<void> held(HeldContext context) override {
    KJ_IF_MAYBE(callback, kept) context.getResults().setCallback(*callback);
    return kj::READY_NOW;
  }

  kj::Promise<void> fail(FailContext context) override {
    auto params = context.getParams();
    return kj::Exception(static_cast<kj::Exception::Type>(params.getType()), "", 0, kj::str(params.getReason()));
  }

  kj::Promise<void> forward(ForwardContext context) override {
    auto params = context.getParams();
    auto request = params.getTo().counterRequest();
    request.setStart(params.getStart());
    context.releaseParams();
    return context.tailCall(kj::mv(request));
  }

  kj::Promise<void> forwardWait(ForwardWaitContext context) override {
    context.allowCancellation();
    auto params = context.getParams();
    auto request = params.getTo().waitRequest();
    request.setId(params.getId());
    context.releaseParams();
    return context.tailCall(kj::mv(request));
  }

  kj::Promise<void> forwardFail(ForwardFailContext context) override {
    auto params = context.getParams();
    auto request = params.getTo().failRequest();
    request.setType(params.getType());
    request.setReason(params.getReason());
    context.releaseParams();
    return context.tailCall(kj::mv(request));
  }

  kj::Promise<void> events(EventsContext context) override {
    auto list = context.getResults().initEvents(record->events.size());
    for (uint i = 0; i < list.size(); i++) list.set(i, record->events[i].c_str());
    return kj::READY_NOW;
  }

 private:
  struct WaitGuard {
    WaitGuard(kj::Own<Record> record, uint32_t id) : record(kj::mv(record)), id(id) {}
    ~WaitGuard() noexcept(false) {
      if (!hasEnded) record->add(kj::str("cancelled ", id));
    }
    kj::Own<Record> record;
    uint32_t id;
    bool hasEnded = false;
  };

  kj::Own<Record> record;
  kj::Maybe<kj::Own<kj::PromiseFulfiller<Callback::Client>>> fulfiller;
  kj::Maybe<Callback::Client> owned;
  kj::Maybe<Callback::Client> kept;
  std::vector<kj::Own<kj::PromiseFulfiller<void>>> gates;

  static kj::Promise<void> callBackFrom(
      Callback::Client callback, uint32_t value, uint32_t times, uint32_t sum, CallBackContext context) {
    if (value > times) {
      context.getResults().setSum(sum);
      return kj::READY_NOW;
    }
    auto request = callback.callRequest();
    request.setValue(value);
    return request.send().then([callback, value, times, sum, context](auto results) mutable {
      return callBackFrom(kj::mv(callback), value + 1, times, sum + results.getValue(), context);
    });
  }
};
