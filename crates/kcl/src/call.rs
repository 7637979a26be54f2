//! One call of a processor, in a task of its own: a call that panics has failed, and one may be cut short.

use std::any::Any;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::checkpointer::Checkpointer;
use crate::processor::{ProcessorError, RecordBatch, RecordProcessor, ShardStart};

/// What a processor is called for.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Initialize(Arc<ShardStart>),
    Process(Arc<RecordBatch>),
    ShardEnded,
    ShutdownRequested,
    LeaseLost,
}

impl Job {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Initialize(_) => "initialize",
            Self::Process(_) => "process",
            Self::ShardEnded => "shard_ended",
            Self::ShutdownRequested => "shutdown_requested",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    Interrupted,
    Failed(String),
}

/// A call under way. Dropping it aborts the call.
pub(crate) struct Call<P> {
    pub(crate) name: &'static str,
    interrupt: CancellationToken,
    task: AbortOnDropHandle<(P, Outcome)>,
}

impl<P: RecordProcessor> Call<P> {
    /// The processor comes back with the outcome.
    pub(crate) fn start(processor: P, job: Job, checkpointer: Checkpointer) -> Self {
        let interrupt = CancellationToken::new();
        let name = job.name();
        let task = tokio::spawn(run(processor, job, checkpointer, interrupt.clone()));
        Self {
            name,
            interrupt,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Drops the call's future at its next await. A call that blocks its thread cannot be cut short.
    pub(crate) fn interrupt(&self) {
        self.interrupt.cancel();
    }

    /// Waits for the processor. Cancel safe.
    pub(crate) async fn ended(&mut self) -> (Option<P>, Outcome) {
        match (&mut self.task).await {
            Ok((processor, outcome)) => (Some(processor), outcome),
            Err(error) => (None, Outcome::Failed(lost(error))),
        }
    }
}

async fn run<P: RecordProcessor>(
    mut processor: P,
    job: Job,
    checkpointer: Checkpointer,
    interrupt: CancellationToken,
) -> (P, Outcome) {
    let outcome = tokio::select! {
        outcome = caught(perform(&mut processor, job, &checkpointer)) => match outcome {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(panic) => Outcome::Failed(format!("panicked: {}", panic_text(panic.as_ref()))),
        },
        () = interrupt.cancelled() => Outcome::Interrupted,
    };
    (processor, outcome)
}

async fn perform<P: RecordProcessor>(
    processor: &mut P,
    job: Job,
    checkpointer: &Checkpointer,
) -> Result<(), ProcessorError> {
    match job {
        Job::Initialize(start) => processor.initialize(&start).await,
        Job::Process(batch) => processor.process(&batch, checkpointer).await,
        Job::ShardEnded => processor.shard_ended(checkpointer).await,
        Job::ShutdownRequested => processor.shutdown_requested(checkpointer).await,
        Job::LeaseLost => {
            processor.lease_lost().await;
            Ok(())
        }
    }
}

/// Runs a future and catches its panic. The processor is called again after one, as after an error, so what the panic
/// left of its state is its own concern.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => Poll::Ready(Err(panic)),
        },
    )
    .await
}

/// The text of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

/// The task has no processor to give back: the runtime is going down, or dropping the call's future panicked.
fn lost(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => format!("panicked: {}", panic_text(panic.as_ref())),
        Err(error) => error.to_string(),
    }
}
