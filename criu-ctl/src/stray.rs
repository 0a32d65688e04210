//! Flags that belong to another verb are refused by name.

use crate::cli::{Args, Verb};
use crate::opts::usage;
use chain::error::Result;

/// Refuses what was given and has no meaning for the verb.
pub(crate) fn refuse(args: &Args, verb: Verb) -> Result<()> {
    use Verb::{Check, Dump, LazyPages, Migrate, PreDump, Restore, Show};
    let more = &args.more;
    let (all, both, dumps): (&[Verb], &[Verb], &[Verb]) =
        (&[PreDump, Dump, Restore, Migrate], &[Dump, Restore, Migrate], &[PreDump, Dump, Migrate]);
    // Of a tree that is to be dumped, check is told what the dump would be told.
    let (asked, told): (&[Verb], &[Verb]) = match args.for_tree {
        Some(_) => (&[PreDump, Dump, Restore, Migrate, Check], &[PreDump, Dump, Migrate, Check]),
        None => (all, dumps),
    };
    let flags: [(&str, bool, &[Verb]); 41] = [
        ("--feature", args.feature.is_some(), &[Check]),
        ("--for", args.for_tree.is_some(), &[Check]),
        ("--tree", args.tree.is_some(), dumps),
        ("DIR", args.folder.is_some(), &[Show]),
        (
            "--images-dir",
            args.images_dir.is_some(),
            &[PreDump, Dump, Restore, Migrate, Show, Verb::PageServer, LazyPages],
        ),
        ("--work-dir", args.work_dir.is_some(), all),
        ("--leave-running", args.leave_running, &[Dump]),
        ("--shell-job", args.shell_job, asked),
        ("--tcp-established", args.tcp_established, asked),
        ("--file-locks", args.file_locks, asked),
        ("--ext-unix-sk", args.ext_unix_sk, asked),
        ("--detach", args.detach, &[Restore, Migrate]),
        ("--pid-file", args.pid_file.is_some(), &[Restore, Migrate]),
        ("--log-level", args.log_level.is_some(), all),
        ("--oci", args.common.oci.is_some(), asked),
        ("--plan", args.common.plan.is_some(), asked),
        ("--root", more.root.is_some(), all),
        ("--external", !more.external.is_empty(), &[PreDump, Dump, Restore]),
        ("--inherit-fd", !more.inherit_fd.is_empty(), &[Restore]),
        ("--stdio", more.stdio, both),
        ("--parent-path", more.parent_path.is_some(), &[PreDump, Dump]),
        ("--track-mem", more.track_mem, &[PreDump, Dump]),
        ("--auto-dedup", more.auto_dedup, &[PreDump, Dump, Restore]),
        ("--lazy-pages", more.lazy_pages, &[PreDump, Dump, Restore]),
        ("--hash-pages", more.hash_pages, &[Dump]),
        ("--ready-fd", more.ready_fd.is_some(), &[Dump]),
        ("--page-server", more.page_server.is_some(), &[PreDump, Dump, Verb::PageServer, LazyPages]),
        ("--tcp-close", more.tcp_close, &[Restore, Migrate]),
        ("--tcp-skip-in-flight", more.tcp_skip_in_flight, told),
        ("--link-remap", more.link_remap, told),
        ("--manage-cgroups", more.manage_cgroups.is_some(), all),
        ("--freeze-cgroup", more.freeze_cgroup.is_some(), dumps),
        ("--empty-ns", !more.empty_ns.is_empty(), all),
        ("--network-lock", more.network_lock.is_some(), all),
        ("--lsm-profile", more.lsm_profile.is_some(), &[Restore, Migrate]),
        ("--lsm-mount-context", more.lsm_mount_context.is_some(), &[Restore, Migrate]),
        ("--max-rounds", args.migrate.max_rounds.is_some(), &[Migrate]),
        ("--dirty-below", args.migrate.dirty_below.is_some(), &[Migrate]),
        ("--max-downtime", args.migrate.max_downtime.is_some(), &[Migrate]),
        ("--pre-copy", args.migrate.pre_copy, &[Migrate]),
        ("--netns", args.migrate.netns.is_some(), &[Migrate]),
    ];
    let stray = flags.iter().find(|(_, given, verbs)| *given && !verbs.contains(&verb));
    stray.map_or(Ok(()), |(flag, ..)| Err(usage(format_args!("{flag} is not for {}", word(verb)))))
}

fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Check => "check",
        Verb::Dump => "dump",
        Verb::PreDump => "pre-dump",
        Verb::Restore => "restore",
        Verb::Migrate => "migrate",
        Verb::Show => "show",
        Verb::PageServer => "page-server",
        Verb::LazyPages => "lazy-pages",
    }
}
