//! Where a process that nobody waits for stays to be seen.

use catena_tests::{Output, shell};

/// A shell line that prints the zombies there are.
pub const ZOMBIES: &str = "for stat in /proc/[0-9]*/stat; do
    read -r line <$stat && case $line in *') Z '*) echo \"$line\" ;; esac; done 2>/dev/null";

/// In front of a command: whoever makes a process comes back from that call so late that what the new one tells is heard
/// first.
pub const LATE: &str = "strace -f -qq -o /dev/null -e inject=clone,clone3:delay_exit=300000";

/// Runs a shell line in a pid namespace whose init waits for its own child alone.
pub fn where_init_waits_for_nobody(line: &str) -> Output {
    let init =
        "exec unshare --pid --fork --mount-proc perl -e 'exit(system(\"sh\", \"-c\", $ARGV[0]) >> 8)' \"$0\"";
    shell(init).args([line]).run()
}
