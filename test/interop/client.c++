// Calls a vat that serves interop.capnp: `client <host:port or unix:path> <scenario>`. Ends with 0 when everything was as
// it should be; otherwise it says what was not.
#include "interop-server.h"
#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <kj/debug.h>
#include <functional>
#include <iostream>

namespace {

using Values = std::vector<std::string>;

struct Peer {
  kj::AsyncIoContext& io;
  kj::WaitScope& scope;
  Interop::Client main;
  capnp::TwoPartyVatNetwork& network;

  // Waits for an event of the vat.
  void expectEvent(const std::string& wanted) {
    for (int i = 0; i < 1000; i++) {
      for (auto event : main.eventsRequest().send().wait(scope).getEvents()) {
        if (event == wanted.c_str()) return;
      }
      pause();
    }
    KJ_FAIL_REQUIRE("an event never came", wanted);
  }

  void pause() { io.provider->getTimer().afterDelay(5 * kj::MILLISECONDS).wait(scope); }

  // Waits for something at this side.
  void until(const std::function<bool()>& condition) {
    for (int i = 0; i < 1000 && !condition(); i++) pause();
    KJ_REQUIRE(condition(), "never came to hold");
  }
};

kj::Own<CallbackImpl> callbackOf(Record& record, const char* name, uint32_t plus = 0) {
  return kj::heap<CallbackImpl>(kj::addRef(record), kj::str(name), plus);
}

kj::Promise<uint32_t> callOf(Callback::Client& callback, uint32_t value) {
  auto request = callback.callRequest();
  request.setValue(value);
  return request.send().then([](auto results) { return results.getValue(); });
}

void echo(Peer& peer) {
  auto request = peer.main.echoRequest();
  request.setAll(*EVERYTHING);
  auto echoed = kj::str(request.send().wait(peer.scope).getAll());
  KJ_REQUIRE(echoed == kj::str(*EVERYTHING));
  auto constant = kj::str(peer.main.constantRequest().send().wait(peer.scope).getAll());
  KJ_REQUIRE(constant == kj::str(*EVERYTHING));
}

void echoNull(Peer& peer) {
  auto results = peer.main.echoRequest().send().wait(peer.scope);
  auto all = results.getAll();
  KJ_REQUIRE(!all.hasText() && !all.hasData() && !all.hasInner() && !all.hasInt8s() && !all.hasStructs());
  KJ_REQUIRE(kj::str(all) == kj::str(Everything::Reader()));
}

void chunks(Peer& peer) {
  static constexpr uint mib = 1 << 20;
  kj::Vector<kj::Promise<void>> done;
  for (uint i = 0; i < 64; i++) {
    auto request = peer.main.chunkRequest();
    auto bytes = request.initBytes(mib);
    for (uint j = 0; j < mib; j += 509) bytes[j] = (i + j) & 255;
    done.add(request.send().then([i](auto results) {
      auto bytes = results.getBytes();
      KJ_REQUIRE(bytes.size() == mib);
      for (uint j = 0; j < mib; j++) KJ_REQUIRE(bytes[j] == (j % 509 == 0 ? ((i + j) & 255) : 0));
    }));
    if (i % 8 == 7) kj::joinPromises(done.releaseAsArray()).wait(peer.scope);
  }
}

void callbacks(Peer& peer) {
  auto record = kj::refcounted<Record>();
  {
    auto request = peer.main.callBackRequest();
    request.setCallback(callbackOf(*record, "called", 1));
    request.setTimes(3);
    KJ_REQUIRE(request.send().wait(peer.scope).getSum() == 9);
  }
  peer.until([&]() { return record->events == Values{"called 1", "called 2", "called 3", "called dropped"}; });
}

void nested(Peer& peer) {
  auto record = kj::refcounted<Record>();
  auto request = peer.main.gatherRequest();
  auto boxes = request.initBoxes(3);
  for (uint i = 0; i < 3; i++) {
    boxes[i].setLabel(kj::str("box ", i));
    boxes[i].getInner().setNumber(i);
    boxes[i].getInner().setCallback(callbackOf(*record, "called", 10));
  }
  auto promise = request.send();
  auto results = promise.wait(peer.scope);
  KJ_REQUIRE(results.getSum() == 33);
  for (uint i = 0; i < 3; i++) {
    auto box = results.getBoxes()[i];
    KJ_REQUIRE(box.getLabel() == kj::str("box ", i));
    auto callback = box.getInner().getCallback();
    KJ_REQUIRE(callOf(callback, 5).wait(peer.scope) == 5 + i);
  }
}

void pipelining(Peer& peer) {
  auto one = peer.main.selfRequest().send();
  auto two = one.getInterop().selfRequest().send();
  auto request = two.getInterop().counterRequest();
  request.setStart(40);
  auto three = request.send();
  auto add = three.getCounter().addRequest();
  add.setBy(2);
  KJ_REQUIRE(add.send().wait(peer.scope).getValue() == 42);
}

// Calls before, while and after a promise of the vat's resolves to `target` arrive in order.
void resolveTo(Peer& peer, Callback::Client target) {
  auto promised = peer.main.promiseRequest().send().wait(peer.scope).getCallback();
  kj::Vector<kj::Promise<uint32_t>> answers;
  for (uint i = 1; i <= 3; i++) answers.add(callOf(promised, i));
  auto request = peer.main.fulfilRequest();
  request.setCallback(target);
  auto fulfilled = request.send();
  for (uint i = 4; i <= 6; i++) answers.add(callOf(promised, i));
  fulfilled.wait(peer.scope);
  for (uint i = 7; i <= 9; i++) answers.add(callOf(promised, i));
  promised.whenResolved().wait(peer.scope);
  for (uint i = 10; i <= 12; i++) answers.add(callOf(promised, i));
  auto values = kj::joinPromises(answers.releaseAsArray()).wait(peer.scope);
  for (uint i = 0; i < 12; i++) KJ_REQUIRE(values[i] == i + 1);
}

void resolveLocal(Peer& peer) {
  auto record = kj::refcounted<Record>();
  resolveTo(peer, callbackOf(*record, "called"));
  Values wanted;
  for (int i = 1; i <= 12; i++) wanted.push_back("called " + std::to_string(i));
  wanted.push_back("called dropped");
  peer.until([&]() { return record->events.size() >= 13; });
  KJ_REQUIRE(record->events == wanted);
}

void resolveRemote(Peer& peer) {
  resolveTo(peer, peer.main.ownRequest().send().getCallback());
  auto events = peer.main.eventsRequest().send().wait(peer.scope).getEvents();
  KJ_REQUIRE(events.size() == 12);
  for (uint i = 0; i < 12; i++) KJ_REQUIRE(events[i] == kj::str("own ", i + 1));
}

void resolveBroken(Peer& peer) {
  auto promised = peer.main.promiseRequest().send().wait(peer.scope).getCallback();
  auto before = callOf(promised, 1);
  peer.main.fulfilRequest().send().wait(peer.scope);
  auto reasonOf = [&](kj::Promise<uint32_t> answer) {
    return answer.then([](uint32_t) { return kj::str(); }, [](kj::Exception&& e) { return kj::str(e.getDescription()); })
        .wait(peer.scope);
  };
  KJ_REQUIRE(reasonOf(kj::mv(before)).endsWith("broken"));
  KJ_REQUIRE(reasonOf(callOf(promised, 2)).endsWith("broken"));
}

// A promise of this side's, given to the vat, resolves: to something here, and to something of the vat's own.
void promiseParam(Peer& peer) {
  auto record = kj::refcounted<Record>();
  for (bool toOwn : {false, true}) {
    auto made = kj::newPromiseAndFulfiller<Callback::Client>();
    auto hold = peer.main.holdRequest();
    hold.setCallback(kj::mv(made.promise));
    hold.send().wait(peer.scope);
    auto held = peer.main.heldRequest().send();
    auto back = held.getCallback();
    auto one = callOf(back, 1);
    auto two = callOf(back, 2);
    peer.pause();
    if (toOwn) made.fulfiller->fulfill(peer.main.ownRequest().send().getCallback());
    else made.fulfiller->fulfill(callbackOf(*record, "called"));
    auto three = callOf(back, 3);
    KJ_REQUIRE(one.wait(peer.scope) == 1 && two.wait(peer.scope) == 2 && three.wait(peer.scope) == 3);
  }
  peer.main.holdRequest().send().wait(peer.scope);
  peer.until([&]() { return record->events == Values{"called 1", "called 2", "called 3", "called dropped"}; });
  for (int i = 1; i <= 3; i++) peer.expectEvent("own " + std::to_string(i));
}

void cancel(Peer& peer) {
  {
    auto request = peer.main.waitRequest();
    request.setId(7);
    auto answer = request.send();
    peer.expectEvent("wait 7");
  }
  peer.expectEvent("cancelled 7");
}

void drop(Peer& peer) {
  {
    auto request = peer.main.counterRequest();
    request.setStart(5);
    auto counter = request.send().wait(peer.scope).getCounter();
    auto add = counter.addRequest();
    KJ_REQUIRE(add.send().wait(peer.scope).getValue() == 5);
  }
  peer.expectEvent("counter 5 dropped");
}

void exceptions(Peer& peer) {
  for (uint16_t type = 0; type < 4; type++) {
    auto request = peer.main.failRequest();
    request.setType(type);
    request.setReason("a reason");
    auto outcome = request.send().then([](auto) { return kj::str("none"); }, [](kj::Exception&& exception) {
      return kj::str(static_cast<uint>(exception.getType()), " ", exception.getDescription());
    }).wait(peer.scope);
    KJ_REQUIRE(outcome.startsWith(kj::str(type, " ")) && strstr(outcome.cStr(), "a reason") != nullptr, outcome);
    KJ_REQUIRE(strstr(outcome.cStr(), ".ts") == nullptr, "a stack leaks", outcome);
  }
}

void outstanding(Peer& peer) {
  kj::Vector<kj::Promise<void>> answers;
  for (uint i = 0; i < 10000; i++) {
    auto request = peer.main.waitRequest();
    request.setId(i);
    answers.add(request.send().then([i](auto results) { KJ_REQUIRE(results.getId() == i); }));
  }
  peer.main.openRequest().send().wait(peer.scope);
  kj::joinPromises(answers.releaseAsArray()).wait(peer.scope);
}

// The vat calls on, in the tail of its own method: something of its own, or something of this side's.
void tailCalls(Peer& peer) {
  auto record = kj::refcounted<Record>();
  for (bool isOurs : {false, true}) {
    Interop::Client to = isOurs ? Interop::Client(kj::heap<InteropImpl>(kj::addRef(*record))) : peer.main;
    auto request = peer.main.forwardRequest();
    request.setTo(to);
    request.setStart(10);
    auto promise = request.send();
    Counter::Client counter = promise.getCounter();
    auto pipelined = counter.addRequest();
    pipelined.setBy(1);
    auto early = pipelined.send();
    auto results = promise.wait(peer.scope);
    KJ_REQUIRE(results.hasCounter());
    auto add = counter.addRequest();
    add.setBy(2);
    KJ_REQUIRE(early.wait(peer.scope).getValue() == 11);
    KJ_REQUIRE(add.send().wait(peer.scope).getValue() == 13);

    auto fail = peer.main.forwardFailRequest();
    fail.setTo(to);
    fail.setType(1);
    fail.setReason("a reason");
    auto type = fail.send().then([](auto) { return -1; }, [](kj::Exception&& exception) {
      return static_cast<int>(exception.getType());
    }).wait(peer.scope);
    KJ_REQUIRE(type == 1);

    auto wait = peer.main.forwardWaitRequest();
    wait.setTo(to);
    wait.setId(8);
    auto waiting = wait.send();
    if (isOurs) peer.until([&]() { return record->last() == "wait 8"; });
    else peer.expectEvent("wait 8");
    to.openRequest().send().wait(peer.scope);
    KJ_REQUIRE(waiting.wait(peer.scope).getId() == 8);
  }
  peer.until([&]() { return record->last() == "counter 13 dropped"; });
  peer.expectEvent("counter 13 dropped");
}

void cancelTail(Peer& peer) {
  auto record = kj::refcounted<Record>();
  Interop::Client to = kj::heap<InteropImpl>(kj::addRef(*record));
  {
    auto wait = peer.main.forwardWaitRequest();
    wait.setTo(to);
    wait.setId(8);
    auto waiting = wait.send();
    peer.until([&]() { return record->events == Values{"wait 8"}; });
  }
  peer.until([&]() { return record->events == Values{"wait 8", "cancelled 8"}; });
}

void inheritance(Peer& peer) {
  auto request = peer.main.namedRequest();
  request.setName("a name");
  auto counter = request.send().getCounter();
  auto add = counter.addRequest();
  add.setBy(3);
  KJ_REQUIRE(add.send().wait(peer.scope).getValue() == 3);
  KJ_REQUIRE(counter.nameRequest().send().wait(peer.scope).getName() == "a name");
  Counter::Client parent = counter;
  KJ_REQUIRE(parent.addRequest().send().wait(peer.scope).getValue() == 3);
}

void unknownMethod(Peer& peer) {
  auto outcomeOf = [&](uint64_t interfaceId, uint16_t methodId) {
    return peer.main.typelessRequest(interfaceId, methodId, nullptr).send()
        .then([](auto) { return -1; }, [](kj::Exception&& exception) { return static_cast<int>(exception.getType()); })
        .wait(peer.scope);
  };
  const int unimplemented = static_cast<int>(kj::Exception::Type::UNIMPLEMENTED);
  KJ_REQUIRE(outcomeOf(capnp::typeId<Interop>(), 99) == unimplemented);
  KJ_REQUIRE(outcomeOf(capnp::typeId<Counter>(), 0) == unimplemented);
  KJ_REQUIRE(outcomeOf(0, 0) == unimplemented);
}

void nullCapability(Peer& peer) {
  KJ_REQUIRE(!peer.main.heldRequest().send().wait(peer.scope).hasCallback());
  KJ_REQUIRE(peer.main.callBackRequest().send().wait(peer.scope).getSum() == 0);
}

// Prints "waiting" and waits to be killed, or for the vat to be.
void stay(Peer& peer) {
  auto record = kj::refcounted<Record>();
  auto hold = peer.main.holdRequest();
  hold.setCallback(callbackOf(*record, "held"));
  hold.send().wait(peer.scope);
  auto counter = peer.main.counterRequest().send().wait(peer.scope).getCounter();
  auto request = peer.main.waitRequest();
  request.setId(9);
  auto answer = request.send();
  peer.expectEvent("wait 9");
  std::cout << "waiting" << std::endl;
  auto type = answer.then([](auto) { return -1; }, [](kj::Exception&& exception) {
    return static_cast<int>(exception.getType());
  }).wait(peer.scope);
  KJ_REQUIRE(type == static_cast<int>(kj::Exception::Type::DISCONNECTED));
  auto after = counter.addRequest().send().then([](auto) { return -1; }, [](kj::Exception&& exception) {
    return static_cast<int>(exception.getType());
  }).wait(peer.scope);
  KJ_REQUIRE(after == static_cast<int>(kj::Exception::Type::DISCONNECTED));
  peer.until([&]() { return record->events == Values{"held dropped"}; });
}

const std::map<std::string, void (*)(Peer&)> scenarios = {
  {"echo", echo}, {"echo-null", echoNull}, {"chunks", chunks}, {"callbacks", callbacks}, {"nested", nested},
  {"pipelining", pipelining}, {"resolve-local", resolveLocal}, {"resolve-remote", resolveRemote},
  {"resolve-broken", resolveBroken}, {"promise-param", promiseParam}, {"cancel", cancel}, {"drop", drop},
  {"exceptions", exceptions}, {"outstanding", outstanding}, {"tail-calls", tailCalls}, {"cancel-tail", cancelTail},
  {"inheritance", inheritance}, {"unknown-method", unknownMethod}, {"null-capability", nullCapability}, {"stay", stay},
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3 || scenarios.count(argv[2]) == 0) {
    std::cerr << "client <address> <scenario>, of:";
    for (auto& scenario : scenarios) std::cerr << " " << scenario.first;
    std::cerr << std::endl;
    return 2;
  }
  auto io = kj::setupAsyncIo();
  auto address = io.provider->getNetwork().parseAddress(argv[1], 0).wait(io.waitScope);
  auto stream = address->connect().wait(io.waitScope);
  capnp::TwoPartyVatNetwork network(*stream, capnp::rpc::twoparty::Side::CLIENT);
  auto system = capnp::makeRpcClient(network);
  capnp::MallocMessageBuilder arena;
  auto vatId = arena.initRoot<capnp::rpc::twoparty::VatId>();
  vatId.setSide(capnp::rpc::twoparty::Side::SERVER);
  Peer peer{io, io.waitScope, system.bootstrap(vatId).castAs<Interop>(), network};
  scenarios.at(argv[2])(peer);
  return 0;
}
