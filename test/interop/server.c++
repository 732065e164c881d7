// Serves interop.capnp: `server 127.0.0.1` or `server unix:<path>`. Prints the port it got, or 0, when it listens. Each
// connection has an object of its own, whose events are its own.
#include "interop-server.h"
#include <capnp/rpc-twoparty.h>
#include <kj/async-io.h>
#include <iostream>

struct Session {
  explicit Session(kj::Own<kj::AsyncIoStream> accepted)
      : stream(kj::mv(accepted)),
        network(*stream, capnp::rpc::twoparty::Side::SERVER),
        system(capnp::makeRpcServer(network, Interop::Client(kj::heap<InteropImpl>(kj::refcounted<Record>())))) {}

  kj::Own<kj::AsyncIoStream> stream;
  capnp::TwoPartyVatNetwork network;
  capnp::RpcSystem<capnp::rpc::twoparty::VatId> system;
};

struct Listener final : private kj::TaskSet::ErrorHandler {
  Listener() : tasks(*this) {}

  kj::Promise<void> accept(kj::ConnectionReceiver& receiver) {
    return receiver.accept().then([this, &receiver](kj::Own<kj::AsyncIoStream> stream) {
      auto session = kj::heap<Session>(kj::mv(stream));
      auto ended = session->network.onDisconnect();
      tasks.add(ended.attach(kj::mv(session)));
      return accept(receiver);
    });
  }

 private:
  kj::TaskSet tasks;
  void taskFailed(kj::Exception&& exception) override { KJ_LOG(ERROR, exception); }
};

int main(int argc, char** argv) {
  auto io = kj::setupAsyncIo();
  auto address = io.provider->getNetwork().parseAddress(argv[1], 0).wait(io.waitScope);
  auto receiver = address->listen();
  std::cout << (std::string(argv[1]).rfind("unix:", 0) == 0 ? 0 : receiver->getPort()) << std::endl;
  Listener listener;
  listener.accept(*receiver).wait(io.waitScope);
}
