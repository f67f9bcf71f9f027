//! What the executor beside a shard's loop does in production: inspections, each step an operation on the disk.

use ringmain_shard::effect::{FileId, FileToken};
use ringmain_shard::event::{FileError, FileOutcome};
use ringmain_shard::inspection::{Inspection, InspectionKind, InspectionRequest};

use super::carrier::Arrival;
use super::checker::Violation;
use super::world::{Step, World};

/// Steps of inspections have tokens of this kind, which no logic uses.
const TOKENS: u64 = 14 << 60;
/// Files of inspections have these bits, which no logic uses.
const FILES: u32 = 7 << 28;
const KINDS: [InspectionKind; 2] = [InspectionKind::Seal, InspectionKind::Scrub];

/// The inspection that a file operation belongs to.
pub(super) fn kind_of(token: FileToken) -> Option<InspectionKind> {
    KINDS.into_iter().find(|&kind| token == token_of(kind))
}

fn token_of(kind: InspectionKind) -> FileToken {
    FileToken(TOKENS | kind as u64)
}

impl World {
    /// A shard wants a segment inspected.
    pub(super) fn start_inspection(&mut self, shard: u16, request: InspectionRequest) -> Step {
        let kind = request.kind;
        self.note_rotten(shard, &request);
        let inspection = Inspection::new(request, FileId(FILES | kind as u32));
        if self.node.shard(shard).inspections.insert(kind, inspection).is_some() {
            let what = format!("shard {shard} wants two inspections of one kind at a time");
            return Err(Violation { invariant: "bounds", what });
        }
        self.inspect_on(shard, kind)
    }

    /// A step of an inspection has ended.
    pub(super) fn inspection_step_done(
        &mut self,
        shard: u16,
        kind: InspectionKind,
        result: Result<FileOutcome, FileError>,
    ) -> Step {
        let inspection = self.node.shard(shard).inspections.get_mut(&kind);
        inspection.expect("a step belongs to an inspection").handle(result);
        self.inspect_on(shard, kind)
    }

    fn inspect_on(&mut self, shard: u16, kind: InspectionKind) -> Step {
        let inspections = &mut self.node.shard(shard).inspections;
        let inspection = inspections.get_mut(&kind).expect("it was begun");
        if let Some(operation) = inspection.poll() {
            return self.start_file(shard, token_of(kind), operation);
        }
        let Some(inspection) = inspections.remove(&kind) else { return Ok(()) };
        let inspected = inspection.finish();
        self.judge_inspected(shard, &inspected.request, &inspected.result)?;
        self.arrived(shard, Arrival::Inspected { inspected });
        Ok(())
    }
}
