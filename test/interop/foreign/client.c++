// A client in C++: submits a task and has its outcome in the same round trip, then submits another and cancels it. Its
// module comes last on the command line. It prints a line for each thing that it has found to be so.
#include "login.h"
#include <capnp/ez-rpc.h>
#include <iostream>
#include <kj/async-io.h>

const char* nameOf(TaskState state) {
  const char* const names[] = {"scheduled", "ready", "running", "succeeded", "failed", "cancelled"};
  return names[static_cast<uint16_t>(state)];
}

void fillSubmission(Submission::Builder submission, const std::string& module, int32_t input, int32_t difficulty) {
  submission.initModule().setBytes(bytesOf(module));
  auto arguments = submission.initArguments().initRun();
  arguments.setInput(input);
  arguments.setDifficulty(difficulty);
  auto label = submission.initRequire(1)[0];
  label.setName("lang");
  label.setValue("c++");
}

int main(int argc, char** argv) {
  const Login login(argc, argv);
  std::ifstream file(argv[argc - 1], std::ios::binary);
  const std::string module((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  capnp::EzRpcClient client(login.address.c_str());
  auto& waitScope = client.getWaitScope();
  auto bootstrap = client.getMain<Bootstrap>();

  auto loginRequest = bootstrap.loginClientRequest();
  const auto proof = fillCredential(loginRequest.initCredential(), login, "client", bootstrap, waitScope);
  auto admission = loginRequest.send();

  // Everything up to the outcome is pipelined on the login: nothing has been answered yet.
  auto submitRequest = admission.getSession().submitRequest();
  fillSubmission(submitRequest.initSubmission(), module, 40, 2);
  auto submitted = submitRequest.send();
  auto outcome = submitted.getTask().outcomeRequest().send();

  auto admitted = admission.wait(waitScope);
  requireProof(proof, admitted.getProof());
  auto session = admitted.getSession();
  {
    auto end = outcome.wait(waitScope);
    const auto status = end.getStatus();
    std::cout << "outcome " << nameOf(status.getState()) << " " << status.getResult().getSome().getValue().cStr()
              << std::endl;
    auto find = session.findRequest();
    find.setId(submitted.wait(waitScope).getId());
    std::cout << "found "
              << nameOf(find.send().getTask().statusRequest().send().wait(waitScope).getStatus().getState())
              << std::endl;
  }
  {
    auto request = session.submitRequest();
    fillSubmission(request.initSubmission(), module, -1, 0);
    auto task = request.send().getTask();
    auto end = task.outcomeRequest().send();
    // Cancelled while it runs.
    while (task.statusRequest().send().wait(waitScope).getStatus().getState() != TaskState::RUNNING) {
      client.getIoProvider().getTimer().afterDelay(5 * kj::MILLISECONDS).wait(waitScope);
    }
    task.cancelRequest().send().wait(waitScope);
    std::cout << "outcome " << nameOf(end.wait(waitScope).getStatus().getState()) << std::endl;
  }
  {
    auto request = session.submitRequest();
    fillSubmission(request.initSubmission(), "no module", 1, 1);
    KJ_IF_MAYBE (exception, kj::runCatchingExceptions([&]() { request.send().wait(waitScope); })) {
      std::cout << "refused " << exception->getDescription().cStr() << std::endl;
    }
  }
}
