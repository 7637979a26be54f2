//! One call of a processor, in a task of its own: a panic anywhere in it is a failure like others, and it may be cut
//! short.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use kinex_core::id::ShardId;
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::checkpointer::Checkpointer;
use crate::poison::{Poison, PoisonAction};
use crate::processor::{ProcessorError, ProcessorFactory, RecordBatch, RecordProcessor, ShardStart};

/// What a processor is called for.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Initialize(Arc<ShardStart>),
    Process(Arc<RecordBatch>),
    Poisoned(Arc<Poison>),
    ShardEnded,
    ShutdownRequested,
    LeaseLost,
}

impl Job {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Initialize(_) => "initialize",
            Self::Process(_) => "process",
            Self::Poisoned(_) => "poisoned",
            Self::ShardEnded => "shard_ended",
            Self::ShutdownRequested => "shutdown_requested",
            Self::LeaseLost => "lease_lost",
        }
    }
}

/// Why a call failed, with its text for events: the text is made once, inside the guard against panics.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) text: String,
    pub(crate) error: Arc<dyn std::error::Error + Send + Sync>,
}

/// A call that panicked.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {0}")]
struct Panicked(String);

impl Failure {
    fn returned(error: ProcessorError) -> Self {
        match guarded(|| error.to_string()) {
            Ok(text) => Self {
                text,
                error: error.into(),
            },
            Err(panic) => panic,
        }
    }

    fn said(text: String) -> Self {
        Self {
            error: ProcessorError::from(text.clone()).into(),
            text,
        }
    }

    fn panicked(panic: &(dyn Any + Send)) -> Self {
        let panicked = Panicked(panic_text(panic));
        Self {
            text: panicked.to_string(),
            error: Arc::new(panicked),
        }
    }
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    /// The processor has decided about records that fail every time.
    Judged(PoisonAction),
    Interrupted,
    Failed(Failure),
}

/// A call in flight. Dropping it aborts the call.
pub(crate) struct Call<P> {
    pub(crate) name: &'static str,
    interrupt: CancellationToken,
    task: AbortOnDropHandle<(Option<P>, Outcome)>,
}

impl<P: RecordProcessor> Call<P> {
    /// The processor comes back with the outcome. Without one the factory makes it first, and a factory that panics has
    /// failed the call.
    pub(crate) fn start<F: ProcessorFactory<Processor = P>>(
        processor: Option<P>,
        factory: &Arc<F>,
        shard: &ShardId,
        job: Job,
        checkpointer: Checkpointer,
    ) -> Self {
        let interrupt = CancellationToken::new();
        let name = job.name();
        let (factory, shard, token) = (Arc::clone(factory), shard.clone(), interrupt.clone());
        let task = tokio::spawn(async move {
            let made = match processor {
                Some(processor) => Ok(processor),
                None => guarded(|| factory.create(&shard)),
            };
            match made {
                Ok(processor) => {
                    let (processor, outcome) = run(processor, job, checkpointer, token).await;
                    (Some(processor), outcome)
                }
                Err(failure) => (None, Outcome::Failed(failure)),
            }
        });
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
            Ok((processor, outcome)) => (processor, outcome),
            Err(error) => (None, Outcome::Failed(lost(error))),
        }
    }
}

/// Drops a processor; what it says when it panics.
pub(crate) fn discard<P: RecordProcessor>(processor: P) -> Result<(), String> {
    guarded(|| drop(processor)).map_err(|failure| failure.text)
}

async fn run<P: RecordProcessor>(
    mut processor: P,
    job: Job,
    checkpointer: Checkpointer,
    interrupt: CancellationToken,
) -> (P, Outcome) {
    let mut call = Guarded(Box::pin(perform(&mut processor, job, &checkpointer)));
    let outcome = tokio::select! {
        outcome = &mut call => match outcome {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed(Failure::returned(error)),
            Err(failure) => Outcome::Failed(failure),
        },
        () = interrupt.cancelled() => Outcome::Interrupted,
    };
    // What the call had on its stack is dropped here when it was cut short, and that is user code as well.
    let outcome = match guarded(|| drop(call)) {
        Ok(()) => outcome,
        Err(failure) => Outcome::Failed(failure),
    };
    (processor, outcome)
}

async fn perform<P: RecordProcessor>(
    processor: &mut P,
    job: Job,
    checkpointer: &Checkpointer,
) -> Result<Outcome, ProcessorError> {
    match job {
        Job::Initialize(start) => processor.initialize(&start).await?,
        Job::Process(batch) => processor.process(&batch, checkpointer).await?,
        Job::Poisoned(poison) => {
            let action = processor.poisoned(&poison).await?;
            if action == PoisonAction::DeadLetter {
                processor.dead_letter(&poison).await?;
            }
            return Ok(Outcome::Judged(action));
        }
        Job::ShardEnded => processor.shard_ended(checkpointer).await?,
        Job::ShutdownRequested => processor.shutdown_requested(checkpointer).await?,
        Job::LeaseLost => processor.lease_lost().await,
    }
    Ok(Outcome::Done)
}

/// A future whose panic is a value. The processor is called again after one, as after an error, so what the panic left
/// of its state is its own concern.
struct Guarded<F>(Pin<Box<F>>);

impl<F: Future> Future for Guarded<F> {
    type Output = Result<F::Output, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match guarded(|| self.0.as_mut().poll(context)) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(failure) => Poll::Ready(Err(failure)),
        }
    }
}

/// Runs user code; a panic is a failure.
fn guarded<T>(code: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(code)).map_err(|panic| Failure::panicked(panic.as_ref()))
}

/// The text of a panic.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}

/// The task has no processor to give back: the runtime is going down.
fn lost(error: JoinError) -> Failure {
    match error.try_into_panic() {
        Ok(panic) => Failure::panicked(panic.as_ref()),
        Err(error) => Failure::said(error.to_string()),
    }
}
