// A worker in C++: it has two slots, and its way to run a task is to add the task's two arguments. An input of -1 never
// ends, until it is cancelled. It prints "ready", and then a line for each run.
#include "login.h"
#include <capnp/ez-rpc.h>
#include <iostream>
#include <kj/async-io.h>
#include <map>
#include <tuple>

using Key = std::tuple<uint64_t, uint32_t, uint32_t>;

// The attempts that this worker holds: their leases have to be renewed.
struct Held {
  struct Attempt {
    std::string task;
    Run::Client run;
  };
  std::map<Key, Attempt> attempts;
};

Key keyOf(AttemptId::Reader id) { return {id.getSerial(), id.getRun(), id.getAttempt()}; }

class AddingRun final : public Run::Server {
public:
  AddingRun(RunSpec::Reader spec, Held& held, kj::Own<kj::PromiseFulfiller<void>> slotIsFree)
      : held(held), key(keyOf(spec.getId())), slotIsFree(kj::mv(slotIsFree)) {
    auto ending = kj::newPromiseAndFulfiller<void>();
    ended = ending.promise.fork();
    end = kj::mv(ending.fulfiller);
    const auto arguments = spec.getEntry().getRun();
    sum = static_cast<uint32_t>(arguments.getInput()) + static_cast<uint32_t>(arguments.getDifficulty());
    if (arguments.getInput() != -1) end->fulfill();
    std::cout << "run " << arguments.getInput() << " + " << arguments.getDifficulty() << std::endl;
  }
  ~AddingRun() { slotIsFree->fulfill(); }

  kj::Promise<void> outcome(OutcomeContext context) override {
    return ended.addBranch().then([this, context]() mutable {
      auto outcome = context.getResults().initOutcome();
      if (isCancelled) {
        outcome.setCancelled("cancelled");
        return;
      }
      outcome.setExited(0);
      outcome.initValue().setI32(sum);
      outcome.initUsage().setWallMs(1);
    });
  }
  kj::Promise<void> cancel(CancelContext) override {
    if (end->isWaiting()) {
      isCancelled = true;
      end->fulfill();
    }
    return kj::READY_NOW;
  }
  kj::Promise<void> acknowledge(AcknowledgeContext) override {
    // Gives up the last reference of our own; the object lives until the gateway has dropped its one.
    held.attempts.erase(key);
    return kj::READY_NOW;
  }

private:
  Held& held;
  Key key;
  kj::Own<kj::PromiseFulfiller<void>> slotIsFree;
  kj::ForkedPromise<void> ended = nullptr;
  kj::Own<kj::PromiseFulfiller<void>> end;
  uint32_t sum = 0;
  bool isCancelled = false;
};

// One free slot. It is used once, or comes back unused when the gateway drops it.
class Slot final : public Worker::Server {
public:
  Slot(Held& held, kj::Own<kj::PromiseFulfiller<void>> isFree) : held(held), isFree(kj::mv(isFree)) {}
  ~Slot() {
    if (isFree.get() != nullptr) isFree->fulfill();
  }

  kj::Promise<void> run(RunContext context) override {
    KJ_REQUIRE(isFree.get() != nullptr, "this slot was used");
    const auto spec = context.getParams().getSpec();
    KJ_REQUIRE(spec.getEntry().isRun(), "this worker adds two numbers: submit an input and a difficulty");
    Run::Client run = kj::heap<AddingRun>(spec, held, kj::mv(isFree));
    held.attempts.emplace(keyOf(spec.getId()), Held::Attempt{spec.getId().getTask().cStr(), run});
    context.getResults().setRun(run);
    return kj::READY_NOW;
  }

private:
  Held& held;
  kj::Own<kj::PromiseFulfiller<void>> isFree;
};

void fillState(WorkerState::Builder state) {
  state.setSlots(2);
  state.setWeight(1);
  state.setVersion("1.0");
  auto label = state.initLabels(1)[0];
  label.setName("lang");
  label.setValue("c++");
}

// Offers a slot each time it is free.
kj::Promise<void> offerForEver(OfferSender::Client sender, Held& held) {
  auto freed = kj::newPromiseAndFulfiller<void>();
  auto request = sender.sendRequest();
  request.setWorker(kj::heap<Slot>(held, kj::mv(freed.fulfiller)));
  fillState(request.initState());
  return request.send()
      .ignoreResult()
      .then([isFree = kj::mv(freed.promise)]() mutable { return kj::mv(isFree); })
      .then([sender, &held]() mutable { return offerForEver(kj::mv(sender), held); });
}

// Tells the gateway in time that what is held here is alive, and ends what it no longer wants.
kj::Promise<void> renewForEver(WorkerSession::Client session, Held& held, uint64_t everyMs, kj::Timer& timer) {
  return timer.afterDelay(everyMs * kj::MILLISECONDS)
      .then([session, &held]() mutable {
        auto request = session.renewRequest();
        auto attempts = request.initAttempts(held.attempts.size());
        uint32_t index = 0;
        for (const auto& [key, held] : held.attempts) {
          auto attempt = attempts[index++];
          attempt.setTask(held.task.c_str());
          attempt.setSerial(std::get<0>(key));
          attempt.setRun(std::get<1>(key));
          attempt.setAttempt(std::get<2>(key));
        }
        fillState(request.initState());
        return request.send();
      })
      .then([session, &held, everyMs, &timer](auto&& answer) mutable {
        for (const auto stopped : answer.getStop()) {
          auto found = held.attempts.find(keyOf(stopped));
          if (found == held.attempts.end()) continue;
          found->second.run.cancelRequest().send().detach([](kj::Exception&&) {});
          held.attempts.erase(found);
        }
        return renewForEver(kj::mv(session), held, everyMs, timer);
      });
}

int main(int argc, char** argv) {
  const Login login(argc, argv);
  Held held;
  capnp::EzRpcClient client(login.address.c_str());
  auto& waitScope = client.getWaitScope();
  auto bootstrap = client.getMain<Bootstrap>();
  auto request = bootstrap.loginRequest();
  const auto proof = fillCredential(request.initCredential(), login, "worker", bootstrap, waitScope);
  fillState(request.initState());
  auto answer = request.send().wait(waitScope);
  const auto verdict = answer.getVerdict();
  if (!verdict.isAdmitted()) {
    std::cerr << (verdict.isRefused() ? verdict.getRefused() : verdict.getPending()).cStr() << std::endl;
    return 1;
  }
  requireProof(proof, verdict.getAdmitted().getProof());
  auto session = verdict.getAdmitted().getSession();
  session.resumeRequest().send().wait(waitScope);
  auto offers = session.offersRequest().send().wait(waitScope);
  auto renewing = renewForEver(session, held, offers.getRenewEveryMs(), client.getIoProvider().getTimer());
  auto another = offerForEver(offers.getSender(), held);
  auto one = offerForEver(offers.getSender(), held);
  std::cout << "ready" << std::endl;
  renewing.exclusiveJoin(one.exclusiveJoin(kj::mv(another))).wait(waitScope);
}
