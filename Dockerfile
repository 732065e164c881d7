# Capmesh in a container: a gateway by default, a worker with `--dial`.
#
#   docker build -t capmesh .
#   docker run --init -p 127.0.0.1:8080:8080 -p 4077:4077 -v capmesh:/data capmesh
#   docker run --init --no-healthcheck -e CAPMESH_SECRET=… capmesh --dial <gateway>:4077
#
# `--init` reaps what a guest's runner leaves behind. Stopping drains: give it `--grace` (30 s) and a little, with `--stop-timeout`.
# The API listens on all addresses of the container, so it asks for a token: CAPMESH_ADMIN_TOKEN, or the one that is made in
# /data/admin-token.

FROM node:26-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The one install script is that of the package `node`, which fetches the Node that this image has already. The rest that
# goes is what jco would build components with; here it transpiles them.
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund \
  && rm -rf node_modules/node node_modules/.bin/node node_modules/binaryen node_modules/@andreiltd \
    node_modules/@bytecodealliance/componentize-js* node_modules/@bytecodealliance/weval \
    node_modules/@bytecodealliance/wizer*

FROM node:26-slim
ENV NODE_ENV=production \
    CAPMESH_DATA=/data
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
# Node runs the sources as they are. Without the lock file the launcher takes what is installed.
COPY package.json LICENSE ./
COPY src src
COPY wasm-tasks wasm-tasks
RUN ln -s /app/src/cli/capmesh.mjs /usr/local/bin/capmesh \
  && chmod 0755 src/cli/capmesh.mjs \
  && install -d -o node -g node -m 0700 /data

USER node
VOLUME /data
# The API and the dashboard; peers.
EXPOSE 8080 4077
# Of a gateway. A worker listens nowhere: run it with `--no-healthcheck`.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8080/livez').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["capmesh"]
CMD ["--gateway", "--http", "0.0.0.0:8080"]
