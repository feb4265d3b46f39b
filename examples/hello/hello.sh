#!/bin/sh
# Greets everybody whose name follows the line "exit 0".
greet=
while read -r line; do
  [ -n "$greet" ] && echo "$GREETING, $line!"
  [ "$line" = "exit 0" ] && greet=yes
done <"$0"
exit 0
