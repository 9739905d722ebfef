//! Job files that run a sweep in parts, on clusters.
//!
//! They have been read against the documentation of both, not tried on a cluster.

/// Whose job file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheduler {
    /// An array job.
    Slurm,
    /// An Indexed Job.
    Kubernetes,
}

/// A job of `tasks` parts of the sweep in the file `sweep`, whose results go into the folder `out`, which all of them share.
pub fn script(scheduler: Scheduler, name: &str, sweep: &str, out: &str, tasks: usize) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = name.chars().map(plain).collect();
    let name = name.trim_matches('-');
    let name = if name.is_empty() { "sweep" } else { name };
    let last = tasks.max(1) - 1;
    match scheduler {
        Scheduler::Slurm => format!(
            "#!/bin/bash
#SBATCH --job-name={name}
#SBATCH --array=0-{last}
#SBATCH --cpus-per-task=4
#SBATCH --time=01:00:00
#SBATCH --requeue
# The folder of results must be one that all nodes see. Sent again, the job computes only what is missing.
set -euo pipefail
ofa sweep run {sweep} --out {out} --threads \"$SLURM_CPUS_PER_TASK\"
",
            sweep = quoted(sweep),
            out = quoted(out),
        ),
        Scheduler::Kubernetes => format!(
            "apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
spec:
  completionMode: Indexed
  completions: {tasks}
  parallelism: {tasks}
  backoffLimitPerIndex: 3
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: ofa
          image: REGISTRY/ofa        # an image with ofa
          args: [sweep, run, {sweep:?}, --out, {out:?}]
          env:
            # Kubernetes sets JOB_COMPLETION_INDEX, but not of how many.
            - {{name: JOB_COMPLETIONS, value: \"{tasks}\"}}
          resources:
            requests: {{cpu: \"4\", memory: 2Gi}}
          volumeMounts:
            - {{name: data, mountPath: /data}}
      volumes:
        - name: data
          persistentVolumeClaim: {{claimName: CLAIM}}   # one that all pods may write to (ReadWriteMany)
"
        ),
    }
}

/// For a shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn job_files_name_what_they_run() {
        let slurm = script(Scheduler::Slurm, "My phones", "it's.yaml", "out", 4);
        assert!(slurm.contains("--array=0-3") && slurm.contains("--job-name=my-phones"), "{slurm}");
        assert!(slurm.contains("ofa sweep run 'it'\\''s.yaml' --out out"), "{slurm}");
        let kubernetes = script(Scheduler::Kubernetes, "x", "a.yaml", "/data/out", 8);
        let job: serde_yaml::Value = serde_yaml::from_str(&kubernetes).unwrap();
        assert_eq!(job["spec"]["completions"].as_u64(), Some(8));
        let container = &job["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["args"][2].as_str(), Some("a.yaml"));
        assert_eq!(container["env"][0]["value"].as_str(), Some("8"));
    }
}
