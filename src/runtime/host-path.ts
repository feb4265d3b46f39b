/** Where tools of the host are looked for: never through the environment of a build (hazard C19). */
export const HOST_PATH =
  "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/run/current-system/sw/bin";
