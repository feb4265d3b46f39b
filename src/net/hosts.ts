/** True for what can only mean this machine: `localhost`, 127.0.0.0/8, `[::1]`, each with or without a port. */
export function isLoopbackHost(host: string): boolean {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::\d+)?$/.exec(host);
  const name = match?.[1] ?? match?.[2] ?? host;
  return name === "localhost" || name === "::1" || /^127(?:\.\d{1,3}){3}$/.test(name);
}
