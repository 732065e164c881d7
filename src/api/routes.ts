/** The paths of the HTTP API, in one place for the server's clients. Parts are encoded here, and nowhere else. */

export const ROUTES = {
  tasks: "/tasks",
  task: (id: string): string => `/tasks/${encodeURIComponent(id)}`,
  runs: (id: string): string => `/tasks/${encodeURIComponent(id)}/runs`,
  run: (id: string, index: number): string => `/tasks/${encodeURIComponent(id)}/runs/${index}`,
  files: (id: string, run: number): string => `/tasks/${encodeURIComponent(id)}/runs/${run}/files`,
  file: (id: string, run: number, path: string): string =>
    `/tasks/${encodeURIComponent(id)}/runs/${run}/files/${path.split("/").map(encodeURIComponent).join("/")}`,
  logs: (id: string): string => `/tasks/${encodeURIComponent(id)}/logs`,
  retry: (id: string): string => `/tasks/${encodeURIComponent(id)}/retry`,
  explain: (id: string): string => `/tasks/${encodeURIComponent(id)}/explain`,
  batch: "/tasks/batch",
  cancel: (id: string): string => `/tasks/${encodeURIComponent(id)}/cancel`,
  module: (digest: string): string => `/modules/${encodeURIComponent(digest)}`,
  workers: "/workers",
  worker: (id: string): string => `/workers/${encodeURIComponent(id)}`,
  admit: (id: string): string => `/workers/${encodeURIComponent(id)}/admit`,
  drain: (id: string): string => `/workers/${encodeURIComponent(id)}/drain`,
  cluster: "/cluster",
  tokens: "/tokens",
  token: (id: string): string => `/tokens/${encodeURIComponent(id)}`,
  audit: "/audit",
  events: "/events",
  live: "/livez",
  ready: "/readyz",
  metrics: "/metrics",
} as const;
